//! Typed netfilter rules, rendered to text last.
//!
//! Covers the used parts of iptables(8), iptables-extensions(8), ebtables(8) and ipset(8), independently of Proxmox. A rule
//! is a typed value, so its text cannot become a second rule, and the simulator evaluates the same rules as the kernel.

mod bridge;
mod chain;
mod matches;
mod names;
mod rule;
mod set;
mod signature;
mod target;
mod text;

pub use bridge::{BridgeMatch, BridgeRule, BridgeTarget, MacStyle};
pub use chain::{BridgeChain, Chain};
pub use matches::{AddrType, HashLimit, Match, Physdev, Side};
pub use names::{ChainName, SetName};
pub use rule::Rule;
pub use set::{Set, canonical_address, canonical_net};
pub use signature::{Signature, signature_of};
pub use target::{LogPrefix, RejectWith, Target};

/// Types of the model that are used in rules.
pub use crate::model::{
    CtState, Family, IcmpType, Interface, LogRate, MacAddr, Origin, PerFamily, Queue, Spelled, TcpFlags, Token,
};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The chains of one iptables table, by name.
pub type Table = BTreeMap<ChainName, Arc<Chain>>;

/// The result of compiling a configuration. Empty if the firewall is disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The table `filter`.
    pub filter: PerFamily<Table>,
    /// The table `raw`.
    pub raw: PerFamily<Table>,
    /// The chains of the ebtables table `filter`.
    pub bridge: BTreeMap<ChainName, Arc<BridgeChain>>,
    /// The IP sets.
    pub sets: BTreeMap<SetName, Arc<Set>>,
    /// Chains of any table whose live rules are kept, because their configuration cannot be read.
    pub kept: BTreeSet<ChainName>,
}
