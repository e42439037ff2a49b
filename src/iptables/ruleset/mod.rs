//! Typed netfilter rules, rendered to text last.
//!
//! Covers the required parts of iptables(8), iptables-extensions(8), ebtables(8) and ipset(8), independently of Proxmox. A rule
//! is a typed value, so its text cannot become a second rule, and the simulator evaluates the same rules as the kernel.

mod bridge;
mod chain;
mod match_list;
mod matches;
mod names;
mod rule;
mod set;
mod signature;
mod target;
mod write_helpers;

pub use bridge::{BridgeMatch, BridgeRule, BridgeTarget, MacStyle};
pub use chain::{BridgeChain, Chain};
pub use match_list::MatchList;
pub use matches::{AddrType, HashLimit, Match, Physdev, Side};
pub use names::{ChainName, SetName, TableName};
pub use rule::Rule;
pub use set::{Set, canonical_address, canonical_net};
pub use signature::{LineSigner, Signature, signature_of};
pub use target::{LogPrefix, RejectWith, Target};

/// Types of the model that rules use.
pub use crate::model::{
    CtState, Family, IcmpType, Interface, LogRate, MacAddr, Origin, PerFamily, Queue, Spelled, TcpFlags, Token,
};

use imbl::OrdMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Chains by name. A copy that is changed shares what is unchanged.
pub type Chains<C> = OrdMap<ChainName, Arc<C>>;

/// The chains of one iptables table.
pub type Table = Chains<Chain>;

/// The result of compiling a configuration. Empty if the firewall is disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The table `filter`.
    pub filter: PerFamily<Table>,
    /// The table `raw`.
    pub raw: PerFamily<Table>,
    /// The chains of the ebtables table `filter`.
    pub bridge: Chains<BridgeChain>,
    /// The IP sets.
    pub sets: OrdMap<SetName, Arc<Set>>,
    /// Chains of any table whose live rules are kept, because their configuration cannot be read.
    pub kept: BTreeSet<ChainName>,
}

impl Ruleset {
    /// The chains of an iptables table.
    #[must_use]
    pub fn table(&self, table: TableName, family: Family) -> &Table {
        match table {
            TableName::Filter => &self.filter[family],
            TableName::Raw => &self.raw[family],
        }
    }

    /// The sets of a family.
    pub fn sets_of(&self, family: Family) -> impl Iterator<Item = &SetName> {
        self.sets.iter().filter(move |(_, set)| set.family == family).map(|(name, _)| name)
    }

    /// Keeps the live rules of the chains that use these sets.
    pub fn keep_chains_of(&mut self, sets: &BTreeSet<SetName>) {
        let of = |table: &Table| -> Vec<_> {
            table.iter().filter(|(_, chain)| chain.uses_one_of(sets)).map(|(name, _)| name.clone()).collect()
        };
        for family in Family::ALL {
            self.kept.extend(of(&self.filter[family]));
        }
    }
}
