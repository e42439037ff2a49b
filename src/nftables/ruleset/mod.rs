//! Typed objects of nft(8): tables, chains, rules, sets and maps, rendered to text last (`text`). Independent of Proxmox.
mod action;
mod chain;
mod ct_helper;
mod declaration_text;
mod interval;
mod matches;
mod rule;
mod set;
mod signature;
mod text;

pub use action::{Action, Limit, LogPrefix, Rejection};
pub use chain::{Chain, Hook};
pub use ct_helper::HelperObject;
pub(super) use interval::after;
pub use interval::{Interval, IntervalSet};
pub use matches::{Addresses, CtStates, Match, PacketType, Side};
pub use rule::Rule;
pub use set::{DynamicSet, Map, MapKey, Set, SetKind, VerdictTarget};
pub use signature::Signature;
pub(super) use text::with_ports;

use super::names::{Name, TableName};
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The content of a table. Of maps with thousands of entries, a copy that is changed shares what is unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its chains.
    pub chains: OrdMap<Name, Arc<Chain>>,
    /// Its sets of addresses and ports.
    pub sets: OrdMap<Name, Arc<Set>>,
    /// Its maps to verdicts.
    pub maps: BTreeMap<Name, Map>,
    /// The dynamic sets.
    pub dynamic_sets: BTreeMap<Name, DynamicSet>,
    /// Its connection tracking helpers.
    pub helpers: BTreeMap<Name, HelperObject>,
}

impl Table {
    /// Removes the helpers that no rule of a base chain assigns; no other chain assigns helpers.
    pub fn remove_unused_helpers(&mut self) {
        if self.helpers.is_empty() {
            return;
        }
        let base_chains = self.chains.values().filter(|chain| chain.hook().is_some());
        let rules = base_chains.flat_map(|chain| chain.rules());
        let assigned = |rule: &Rule| match &rule.action {
            Action::CtHelper(name) => Some(name.clone()),
            _ => None,
        };
        let used: BTreeSet<Name> = rules.filter_map(assigned).collect();
        self.helpers.retain(|name, _| used.contains(name));
    }
}

/// The result of compiling a configuration. A table that is absent here is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables.
    pub tables: BTreeMap<TableName, Table>,
    /// Guests whose live chains and map elements are kept, because their configuration cannot be read.
    pub kept: BTreeSet<u32>,
    /// Chains that keep their live rules, because the kernel refuses one of their rules that drops or rejects packets.
    pub kept_chains: BTreeSet<(TableName, Name)>,
}

impl Ruleset {
    /// Whether some live chains are kept, so that everything that they may use has to be kept too.
    #[must_use]
    pub fn keeps_live_chains(&self) -> bool {
        !self.kept.is_empty() || !self.kept_chains.is_empty()
    }
}
