//! What the kernel holds of the two tables, read over netlink. No rule is understood: chains are known by their signatures,
//! and by a digest of what the kernel holds, which changes whoever edits them.
mod decode;
mod read;

pub use decode::{LiveChain, LiveElement, LiveRule, LiveSet};
pub use read::{chain_rules, exists, read, read_parts};

use crate::nftables::names::TableName;
use std::collections::{BTreeMap, BTreeSet};

/// What the kernel holds of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTable {
    /// Whether its hooks are switched off (flag `dormant`).
    pub dormant: bool,
    /// Its chains.
    pub chains: BTreeMap<String, LiveChain>,
    /// Its sets and maps.
    pub sets: BTreeMap<String, LiveSet>,
    /// Its connection tracking helpers and other objects.
    pub objects: BTreeSet<String>,
}

/// What the kernel holds of the tables that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The tables.
    pub tables: BTreeMap<TableName, LiveTable>,
}
