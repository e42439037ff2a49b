//! Reads the live state from the kernel.
use super::decode::{self, LiveChain, LiveElement, LiveRule, LiveSet};
use super::{Live, LiveTable};
use crate::nftables::names::TableName;
use crate::system::netfilter::{NftObjects, nft_list};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// `NFT_SET_EVAL`: rules add elements to the set.
const DYNAMIC: u32 = 32;

/// `NFPROTO_INET` and `NFPROTO_BRIDGE`.
fn family(table: TableName) -> u8 {
    match table {
        TableName::Host => 1,
        TableName::Guests => 7,
    }
}

/// Reads both tables.
///
/// # Errors
/// When the kernel cannot be queried.
pub fn read() -> Result<Live> {
    let mut live = Live::default();
    for name in TableName::ALL {
        if let Some(table) = table(name)? {
            live.tables.insert(name, table);
        }
    }
    Ok(live)
}

fn table(name: TableName) -> Result<Option<LiveTable>> {
    let family = family(name);
    let tables: BTreeMap<String, bool> =
        nft_list(NftObjects::Tables, family, &[], |tables: &mut BTreeMap<_, _>, body| {
            tables.extend([decode::table(body)]);
        })?;
    let Some(dormant) = tables.get(name.as_str()) else { return Ok(None) };
    let mut table = LiveTable { dormant: *dormant, ..LiveTable::default() };
    table.chains = chains_of(name)?;
    let rules: Vec<(String, LiveRule)> = nft_list(NftObjects::Rules, family, &of(name), |rules: &mut Vec<_>, body| {
        let (of, chain, rule) = decode::rule(body);
        if of == name.as_str() {
            rules.push((chain, rule));
        }
    })?;
    for (chain, rule) in rules {
        table.chains.entry(chain).or_default().rules.push(rule);
    }
    table.sets = sets_of(name)?;
    for (set, read) in &mut table.sets {
        fill(name, set, read)?;
    }
    table.objects = objects_of(name)?;
    Ok(Some(table))
}

/// The attribute that selects a table. The kernel ignores it for some kinds of objects.
fn of(table: TableName) -> [(u16, &'static str); 1] {
    [(1, table.as_str())]
}

fn chains_of(table: TableName) -> Result<BTreeMap<String, LiveChain>> {
    nft_list(NftObjects::Chains, family(table), &of(table), |chains: &mut BTreeMap<_, _>, body| {
        let (of, chain, read) = decode::chain(body);
        if of == table.as_str() {
            chains.insert(chain, read);
        }
    })
}

fn sets_of(table: TableName) -> Result<BTreeMap<String, LiveSet>> {
    nft_list(NftObjects::Sets, family(table), &of(table), |sets: &mut BTreeMap<_, _>, body| {
        let (of, set, read) = decode::set(body);
        if of == table.as_str() {
            sets.insert(set, read);
        }
    })
}

fn objects_of(table: TableName) -> Result<BTreeSet<String>> {
    nft_list(NftObjects::Objects, family(table), &of(table), |objects: &mut BTreeSet<_>, body| {
        let (of, object) = decode::object(body);
        if of == table.as_str() {
            objects.insert(object);
        }
    })
}

/// The rules of a chain; none if there is no such chain.
///
/// # Errors When the kernel cannot be queried.
pub fn chain_rules(table: TableName, chain: &str) -> Result<Vec<LiveRule>> {
    let one = [(1, table.as_str()), (2, chain)];
    nft_list(NftObjects::Rules, family(table), &one, |rules: &mut Vec<_>, body| {
        let (of, name, rule) = decode::rule(body);
        if of == table.as_str() && name == chain {
            rules.push(rule);
        }
    })
}

/// The elements of a set or map; none if there is no such set.
///
/// # Errors When the kernel cannot be queried.
pub fn set_elements(table: TableName, set: &str) -> Result<Vec<LiveElement>> {
    let one = [(1, table.as_str()), (2, set)];
    nft_list(NftObjects::Elements, family(table), &one, |elements: &mut Vec<_>, body| {
        elements.extend(decode::elements(body));
    })
}

/// Chains with their rules, sets with their elements, and objects, by name.
pub type TableContent = (BTreeMap<String, LiveChain>, BTreeMap<String, LiveSet>, BTreeSet<String>);

/// Some chains and sets of a table, and all of its objects. Those that do not exist are left out.
///
/// # Errors When the kernel cannot be queried.
pub fn read_parts<'a>(
    table: TableName,
    chains: impl Iterator<Item = &'a str>,
    sets: impl Iterator<Item = &'a str>,
) -> Result<TableContent> {
    let all = chains_of(table)?;
    let mut read = BTreeMap::new();
    for name in chains {
        if let Some(chain) = all.get(name) {
            read.insert(name.to_string(), LiveChain { rules: chain_rules(table, name)?, ..chain.clone() });
        }
    }
    let names: BTreeSet<&str> = sets.collect();
    let mut filled = BTreeMap::new();
    if !names.is_empty() {
        for (name, mut set) in sets_of(table)?.into_iter().filter(|(name, _)| names.contains(name.as_str())) {
            fill(table, &name, &mut set)?;
            filled.insert(name, set);
        }
    }
    Ok((read, filled, objects_of(table)?))
}

fn fill(table: TableName, name: &str, set: &mut LiveSet) -> Result<()> {
    if set.flags & DYNAMIC == 0 {
        set.elements = set_elements(table, name)?;
    }
    Ok(())
}

/// Whether one of the two tables exists.
///
/// # Errors When the kernel cannot be queried.
pub fn exists() -> Result<bool> {
    for name in TableName::ALL {
        let found = nft_list(NftObjects::Tables, family(name), &[], |found: &mut bool, body| {
            *found |= decode::table(body).0 == name.as_str();
        })?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
