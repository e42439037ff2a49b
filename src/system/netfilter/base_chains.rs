//! The tables and base chains of nftables, and the tables of the legacy tools.
use super::nftables::{NftObjects, nft_list, nft_list_while};
use crate::nflog::netlink::{attributes, until_zero};
use anyhow::Result;
use std::fs;

/// The address families whose base chains process IP packets, and their names for nft(8).
const FAMILIES: [(u8, &str); 4] = [(1, "inet"), (2, "ip"), (7, "bridge"), (10, "ip6")];
/// Maximum number of chains of a family, and of rules of a table, that are read.
pub(super) const MAX_COUNT: usize = 100_000;
/// Maximum number of chains or rules of these that are kept.
const MAX_KEPT: usize = 1000;

// linux/netfilter/nf_tables.h
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
pub(super) const NFTA_RULE_TABLE: u16 = 1;
pub(super) const NFTA_RULE_CHAIN: u16 = 2;
pub(super) const NFTA_RULE_EXPRESSIONS: u16 = 4;
pub(super) const NFTA_EXPR_NAME: u16 = 1;
pub(super) const NFTA_EXPR_DATA: u16 = 2;
pub(super) const NFTA_IMMEDIATE_DATA: u16 = 2;

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// The address family of its table, for [`super::nat_rules()`].
    pub family: u8,
    /// The family and the name of its table: `inet filter`.
    pub table: (&'static str, String),
    /// Its name.
    pub name: String,
    /// Its type: `filter`, `nat` or `route`.
    pub kind: String,
    /// Its hook (`NF_INET_…`): 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub hook: u32,
    /// Whether its policy is DROP.
    pub drops: bool,
    /// The result of [`super::unconditional_verdict`], if it was called.
    pub unconditional_drop: Option<bool>,
}

/// Objects of other programs that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The kept objects.
    pub kept: Vec<T>,
    /// The reason if these are not all.
    pub incomplete: Option<String>,
    /// The number of objects that were read.
    read: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed { kept: Vec::new(), incomplete: None, read: 0 }
    }
}

impl<T> Listed<T> {
    /// Processes the next object; false if no more are to be read. `read` and `kept` describe the read and the kept objects in
    /// messages.
    pub(super) fn take(&mut self, one: Option<T>, read: &str, kept: &str) -> bool {
        self.read += 1;
        if self.read > MAX_COUNT {
            self.incomplete = Some(format!("it has more than {MAX_COUNT} {read}"));
        } else if one.is_some() && self.kept.len() == MAX_KEPT {
            self.incomplete = Some(format!("it has more than {MAX_KEPT} {kept}"));
        } else {
            self.kept.extend(one);
        }
        self.incomplete.is_none()
    }
}

/// All base chains.
///
/// # Errors
/// When the kernel has no nftables, the process lacks `CAP_NET_ADMIN`, or the chains change all the time.
pub fn base_chains() -> Result<Listed<BaseChain>> {
    let mut all = Listed::default();
    for (family, name) in FAMILIES {
        let listed = nft_list_while(NftObjects::Chains, family, &[], |chains: &mut Listed<BaseChain>, body| {
            chains.take(base_chain(family, name, body), "chains", "base chains")
        })?;
        all.kept.extend(listed.kept);
        all.incomplete = all.incomplete.or(listed.incomplete);
    }
    Ok(all)
}

fn base_chain(family: u8, family_name: &'static str, body: &[u8]) -> Option<BaseChain> {
    let value = |kind| find(body, kind);
    let hook = find(value(NFTA_CHAIN_HOOK)?, NFTA_HOOK_HOOKNUM).and_then(number)?;
    Some(BaseChain {
        family,
        table: (family_name, text(value(NFTA_CHAIN_TABLE)?)),
        name: text(value(NFTA_CHAIN_NAME)?),
        kind: text(value(NFTA_CHAIN_TYPE).unwrap_or_default()),
        hook,
        drops: value(NFTA_CHAIN_POLICY).and_then(number) == Some(0),
        unconditional_drop: None,
    })
}

/// Whether nftables has a table of this name of a family.
///
/// # Errors
/// As for [`base_chains`].
pub fn has_table(family: &str, name: &str) -> Result<bool> {
    const NFTA_TABLE_NAME: u16 = 1;
    let is_it = |found: &mut bool, body: &[u8]| *found |= is_named(body, &[(NFTA_TABLE_NAME, name)]);
    nft_list(NftObjects::Tables, number_of(family), &[], is_it)
}

/// Whether a table of nftables has a chain of this name.
///
/// # Errors
/// As for [`base_chains`].
pub fn has_chain(family: &str, table: &str, chain: &str) -> Result<bool> {
    let names = [(NFTA_CHAIN_TABLE, table), (NFTA_CHAIN_NAME, chain)];
    let is_it = |found: &mut bool, body: &[u8]| *found |= is_named(body, &names);
    nft_list(NftObjects::Chains, number_of(family), &names[..1], is_it)
}

/// The number of an address family by its name for nft(8).
fn number_of(family: &str) -> u8 {
    FAMILIES.iter().find(|known| known.1 == family).map_or(0, |known| known.0)
}

/// Whether a table of nftables that belongs to iptables or to ip6tables has more than `most` rules.
///
/// # Errors
/// As for [`base_chains`].
pub fn has_more_rules(ipv6: bool, table: &str, most: u32) -> Result<bool> {
    let family = if ipv6 { 10 } else { 2 };
    let read = nft_list_while(NftObjects::Rules, family, &[(NFTA_RULE_TABLE, table)], |read: &mut u32, _| {
        *read += 1;
        *read <= most
    })?;
    Ok(read > most)
}

pub(super) fn find(body: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, content)| content)
}

/// Whether a message has all of these attributes, with these texts.
pub(super) fn is_named(body: &[u8], names: &[(u16, &str)]) -> bool {
    names.iter().all(|(kind, name)| find(body, *kind).is_some_and(|found| until_zero(found) == name.as_bytes()))
}

pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(until_zero(bytes)).into_owned()
}

/// The legacy tables of iptables, or of ip6tables, that exist in the calling thread's network namespace. Querying the kernel
/// for another one would create it.
#[must_use]
pub fn legacy_tables(ipv6: bool) -> Vec<String> {
    let file = if ipv6 { "/proc/thread-self/net/ip6_tables_names" } else { "/proc/thread-self/net/ip_tables_names" };
    let names = fs::read_to_string(file).unwrap_or_default();
    names.lines().map(str::to_string).collect()
}
