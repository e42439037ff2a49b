//! The language of nft(8), as far as the firewall speaks it: tables, chains, sets and maps of typed rules. Text is made at
//! its edge (`text`), and knows nothing of Proxmox.
mod action;
mod chain;
mod declarations;
mod interval;
mod matches;
mod set;
mod signature;
mod text;

pub use action::{Action, Limit, LogPrefix, Rejection};
pub use chain::{Chain, Hook, Rule};
pub(super) use interval::after;
pub use interval::{Interval, IntervalSet};
pub use matches::{Addresses, CtState, End, Match, PacketType};
pub use set::{DynamicSet, Helper, Map, MapKey, Set, SetKind, VerdictTarget};
pub use signature::Signature;
pub(super) use text::with_ports;

use super::names::{Name, TableName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The content of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its chains.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// Its sets of addresses and ports.
    pub sets: BTreeMap<Name, Arc<Set>>,
    /// Its maps to verdicts.
    pub maps: BTreeMap<Name, Map>,
    /// The sets that packets fill.
    pub dynamic_sets: BTreeMap<Name, DynamicSet>,
    /// Its connection tracking helpers.
    pub helpers: BTreeMap<Name, Helper>,
}

/// All that the firewall wants to be live. A table that is not there is not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables.
    pub tables: BTreeMap<TableName, Table>,
    /// Guests whose live chains and map elements stay as they are because nothing certain is known about them.
    pub kept: BTreeSet<u32>,
    /// Chains that stay as they are, if they are live, because a rule that closes is refused.
    pub kept_chains: BTreeSet<(TableName, Name)>,
}

impl Ruleset {
    /// Whether live chains stay that this ruleset does not describe: what they use has to stay as well.
    #[must_use]
    pub fn keeps_live_chains(&self) -> bool {
        !self.kept.is_empty() || !self.kept_chains.is_empty()
    }
}
