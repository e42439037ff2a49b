//! The live state of the two tables, read over netlink. Rules are not decoded: chains are identified by their signatures, and
//! by a hash of their rules, which shows changes by any program.
mod decode;
mod read;

pub use decode::{LiveChain, LiveElement, LiveRule, LiveSet};
pub use read::{chain_rules, exists, read, read_parts};

use crate::nftables::names::TableName;
use std::collections::{BTreeMap, BTreeSet};

/// A live table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTable {
    /// Whether it has the flag `dormant`, so that its base chains are not evaluated.
    pub dormant: bool,
    /// Its chains.
    pub chains: BTreeMap<String, LiveChain>,
    /// Its sets and maps.
    pub sets: BTreeMap<String, LiveSet>,
    /// Its connection tracking helpers and other objects.
    pub objects: BTreeSet<String>,
}

/// The live state of the existing tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The tables.
    pub tables: BTreeMap<TableName, LiveTable>,
}
