//! Findings: why the node does not filter packets as configured. They are derived, without I/O, from evidence that the daemon
//! collects: the state of the kernel, and the bridges that devices are attached to.

mod active_findings;
mod describe;
mod evaluate;
mod evidence;
mod foreign_accepts;
mod foreign_rules;
mod nat;
mod nftables_backend;
mod unread_queues;
mod unread_tables;

pub use active_findings::{ActiveFinding, ActiveFindings};
pub use describe::{Affected, BACKEND_ABSENT, KINDS, STALLED, Severity};
pub use evaluate::evaluate;
pub use evidence::{
    EncapsulatedFrame, Enforcer, Evidence, ForeignTable, NatSource, NftChain, NftNat, Scope, TableKind,
};
pub use foreign_rules::{BuiltIn, ForeignRule, ForeignRules, option_value, unquoted};
pub use nftables_backend::NftFinding;

use crate::model::Family;
use crate::model::guest::GuestDevice;
use std::collections::BTreeSet;

/// Maximum number of findings of one table.
const MAX_COUNT: usize = 20;

/// Reasons why packets are not filtered as configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A rule of another program accepts packets before our rules are evaluated.
    AcceptedBefore {
        /// The table, such as `iptables filter`.
        table: String,
        /// The built-in chain.
        chain: String,
        /// The rule of the built-in chain.
        rule: String,
        /// The rule that accepts, if that is another one.
        by: Option<String>,
        /// Whether it accepts every packet.
        all: bool,
    },
    /// Packets that our rules accept are dropped by a rule after them, or by the policy.
    DroppedAfter {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// The rule; `None` for the policy.
        rule: Option<String>,
    },
    /// Source NAT for guests behind firewall bridges, without a separate conntrack zone for these bridges.
    NatWithoutZone {
        /// The table.
        table: String,
        /// The rule.
        rule: String,
    },
    /// Destination NAT to an address that is not the node's: the node routes the packets, and its rules for incoming packets
    /// are not evaluated.
    PastTheNode {
        /// The table.
        table: String,
        /// The rule.
        rule: String,
    },
    /// Bridged packets are not filtered by iptables or ip6tables.
    BridgeFilteringOff {
        /// The family.
        family: Family,
        /// Whether the kernel has no such setting, because br_netfilter is not loaded.
        missing: bool,
    },
    /// The live rules do not reach the chains of the guests, because the kernel refuses the match `physdev`.
    NoPhysdev {
        /// The family.
        family: Family,
    },
    /// A device with `firewall=1` that is not a port of its firewall bridge.
    NotOnFirewallBridge {
        /// The device.
        device: GuestDevice,
        /// The bridge that it is a port of.
        bridge: String,
    },
    /// Frames from or to a device contain IP packets that iptables does not filter.
    IptablesBypassed(EncapsulatedFrame),
    /// No program reads queues that packets to guests with `ips: 1` are sent to, so that these pass without inspection.
    NotInspected {
        /// The first and the last queue of these guests.
        queues: (u16, u16),
        /// The first and the last of those that no program reads, in order.
        unread: Vec<(u16, u16)>,
    },
    /// Rules of both backends are live.
    BothBackends {
        /// The tables of the other backend.
        tables: Vec<String>,
    },
    /// host.fw selects the nftables backend, but its tables are not live.
    BackendAbsent {
        /// Whether this firewall has kept its rules and continues to filter.
        instead: bool,
    },
    /// host.fw selects the nftables backend, whose daemon was killed: its tables filter, and are not updated.
    BackendStopped,
    /// A finding that only the nftables backend has.
    Nftables(NftFinding),
    /// Chains of ours are live in a variant of the tools that is not in use.
    OtherVariant {
        /// The tool with its variant, such as `iptables-nft`.
        tool: String,
    },
    /// Rules of other programs that cannot be evaluated.
    NotEvaluated {
        /// The table.
        table: String,
        /// The reason.
        why: String,
    },
}

/// The VMIDs of guests.
pub type Guests = BTreeSet<u32>;
