//! The base chains of nftables, their address translation, and the tables of the legacy tools.
use super::nftables::{NftObjects, nft_list, nft_list_while};
use crate::nflog::netlink::{attributes, until_zero};
use anyhow::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_IMMEDIATE_DREG: u16 = 1;
pub(super) const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFT_NAT_DNAT: u32 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// The address family of its table, for [`nat_rules`].
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

/// A rule with address translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRule {
    /// Its chain.
    pub chain: String,
    /// Whether it translates sources, and not destinations.
    pub source: bool,
    /// The source network that it matches, if it is known.
    pub of: Option<IpNet>,
    /// The destination network that it matches, if it is known.
    pub at: Option<IpNet>,
    /// The first address that it translates to, if it is known.
    pub to: Option<IpAddr>,
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
    fn take(&mut self, one: Option<T>, read: &str, kept: &str) -> bool {
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

/// The rules with address translation in a table.
///
/// # Errors
/// As for [`base_chains`].
pub fn nat_rules(family: u8, table: &str) -> Result<Listed<NatRule>> {
    nft_list_while(NftObjects::Rules, family, &[(NFTA_RULE_TABLE, table)], |rules: &mut Listed<NatRule>, body| {
        rules.take(nat_rule(family, body), "rules", "rules with address translation")
    })
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

fn nat_rule(family: u8, body: &[u8]) -> Option<NatRule> {
    let chain = text(find(body, NFTA_RULE_CHAIN)?);
    let (mut loaded, mut mask, mut source) = (None, None, None);
    let mut rule = NatRule { chain, ..NatRule::default() };
    // the values that were loaded into registers
    let mut registers: BTreeMap<u32, &[u8]> = BTreeMap::new();
    for (_, expression) in attributes(find(body, NFTA_RULE_EXPRESSIONS)?) {
        let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
        match until_zero(find(expression, NFTA_EXPR_NAME)?) {
            b"masq" => source = Some(true),
            b"nat" => {
                source = Some(find(data, NFTA_NAT_TYPE).and_then(number) != Some(NFT_NAT_DNAT));
                let register = find(data, NFTA_NAT_REG_ADDR_MIN).and_then(number);
                rule.to = register.and_then(|register| address(registers.get(&register)?));
            }
            b"immediate" => {
                let register = find(data, NFTA_IMMEDIATE_DREG).and_then(number);
                let value = find(data, NFTA_IMMEDIATE_DATA).and_then(|data| find(data, NFTA_DATA_VALUE));
                registers.extend(register.zip(value));
            }
            b"payload" => (loaded, mask) = (address_field(family, data), None),
            b"bitwise" => mask = find(data, NFTA_BITWISE_MASK).and_then(|mask| find(mask, NFTA_DATA_VALUE)),
            b"cmp" => {
                let value = find(data, NFTA_CMP_DATA).and_then(|data| find(data, NFTA_DATA_VALUE));
                let equal = find(data, NFTA_CMP_OP).and_then(number) == Some(0);
                let net = value.filter(|_| equal).and_then(|value| network(family, value, mask));
                match loaded.take() {
                    Some(AddressField::Source) => rule.of = net,
                    Some(AddressField::Destination) => rule.at = net,
                    None => {}
                }
            }
            _ => {}
        }
    }
    source.map(|source| NatRule { source, ..rule })
}

/// An address in the header of a packet.
#[derive(Clone, Copy)]
enum AddressField {
    Source,
    Destination,
}

/// The address that a payload expression loads, or whose first bytes it loads.
fn address_field(family: u8, data: &[u8]) -> Option<AddressField> {
    let value = |kind| find(data, kind).and_then(number);
    let (source, length) = if family == 10 { (8, 16) } else { (12, 4) };
    if value(NFTA_PAYLOAD_BASE)? != NFT_PAYLOAD_NETWORK_HEADER || value(NFTA_PAYLOAD_LEN)? > length {
        return None;
    }
    match value(NFTA_PAYLOAD_OFFSET)? {
        offset if offset == source => Some(AddressField::Source),
        offset if offset == source + length => Some(AddressField::Destination),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// The network with these first bytes of its address; the prefix length is that of the mask, or else the number of bytes.
fn network(family: u8, value: &[u8], mask: Option<&[u8]>) -> Option<IpNet> {
    let bits = |mask: &[u8]| mask.iter().map(|byte| byte.leading_ones()).sum::<u32>();
    let length = u8::try_from(mask.map_or(8 * u32::try_from(value.len()).ok()?, bits)).ok()?;
    let mut bytes = [0; 16];
    bytes.get_mut(..value.len())?.copy_from_slice(value);
    if family == 10 {
        return Ipv6Net::new(Ipv6Addr::from(bytes), length).ok().map(IpNet::V6);
    }
    let v4: [u8; 4] = *bytes.first_chunk()?;
    Ipv4Net::new(Ipv4Addr::from(v4), length).ok().map(IpNet::V4)
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

fn text(bytes: &[u8]) -> String {
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
