//! The language of netfilter rules, typed; text is made at its edge.
//!
//! Knows iptables(8), iptables-extensions(8), ebtables(8) and ipset(8), and nothing of Proxmox. A rule is a value, so the
//! text of one can never become a second one, and the simulator reads the very rules that the kernel gets.

mod bridge;
mod chain;
mod matches;
mod names;
mod rule;
mod set;
mod signature;
mod target;
mod text;

pub use bridge::{BridgeMatch, BridgeRule, BridgeTarget, MacAddr, MacStyle};
pub use chain::{BridgeChain, Chain};
pub use matches::{AddrType, CtState, HashLimit, IcmpType, Match, Physdev, Side, TcpFlags};
pub use names::{ChainName, Interface, SetName, Spelled, Token};
pub use rule::{Origin, Rule};
pub use set::{Set, canonical_address, canonical_net};
pub use signature::{Signature, signature_of};
pub use target::{LogPrefix, LogRate, Queue, RejectWith, Target};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4: iptables, `family inet`.
    V4,
    /// IPv6: ip6tables, `family inet6`.
    V6,
}

impl Family {
    /// Both, in the order in which everything is done for them.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A value for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily<T> {
    /// The value for IPv4.
    pub v4: T,
    /// The value for IPv6.
    pub v6: T,
}

impl<T> std::ops::Index<Family> for PerFamily<T> {
    type Output = T;
    fn index(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl<T> std::ops::IndexMut<Family> for PerFamily<T> {
    fn index_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// The chains of one iptables table, by name.
pub type Table = BTreeMap<ChainName, Arc<Chain>>;

/// Everything that a configuration compiles to. Empty where the firewall is disabled.
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
    /// Chains, of any table, whose live content stays as it is because nothing certain is known about them.
    pub kept: BTreeSet<ChainName>,
}
