//! The evidence from which findings are derived.
use super::foreign_rules::ForeignRules;
use crate::model::guest::GuestDevice;
use crate::model::{Direction, Encapsulation, Family, PerFamily};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What the configuration filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Whether the node itself has rules.
    pub host: bool,
    /// The guests' devices with rules.
    pub devices: Vec<GuestDevice>,
    /// The guests whose accepted packets an IPS inspects (`ips: 1`), each with the first and the last queue.
    pub inspected: BTreeMap<u32, (u16, u16)>,
    /// Whose rules are in force.
    pub enforcer: Enforcer,
}

/// Whose rules are in force, from the view of the daemon of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcer {
    /// None: the firewall is disabled.
    #[default]
    Nobody,
    /// The chains of this daemon, pve-firewall.
    Iptables,
    /// The same, but tables of proxmox-firewall are still live.
    IptablesAndTables,
    /// The chains of this daemon, because the tables of the selected nftables backend are not live.
    IptablesInstead,
    /// The tables of the other daemon, proxmox-firewall.
    Nftables,
    /// The same, but that daemon was killed.
    NftablesAlone,
    /// The tables of this daemon, proxmox-firewall.
    NftablesHere,
    /// The same, but chains of pve-firewall are still live.
    NftablesAndChains,
    /// The same, because the chains of the selected pve-firewall are not live.
    NftablesInstead,
}

/// The tables of the iptables tools that can contain rules of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// `filter` of iptables or ip6tables.
    Filter(Family),
    /// `raw`
    Raw(Family),
    /// `nat`
    Nat(Family),
    /// `filter` of ebtables.
    Bridge,
}

/// A table with the rules of other programs, or why it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignTable {
    /// Its name for messages, such as `iptables filter`.
    pub name: String,
    /// Which it is.
    pub kind: TableKind,
    /// The rules.
    pub rules: Result<Arc<ForeignRules>, Arc<str>>,
}

/// A filtering base chain of another program in nftables. For the nftables backend also a built-in chain of the legacy tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftChain {
    /// The table with its family, such as `inet filter`, or with its tool, such as `iptables-legacy filter`.
    pub table: String,
    /// The tool that changes the table, if it is one of the legacy tools: `iptables-legacy`.
    pub legacy: Option<&'static str>,
    /// The chain.
    pub chain: String,
    /// Whether routed and bridged packets pass it.
    pub forwards: bool,
    /// Whether its policy is DROP.
    pub drops: bool,
    /// Whether packets that bridges forward pass it.
    pub bridged: bool,
    /// Whether the first rule without matches drops packets (`false`: accepts them); `None` if there is no such rule.
    pub unconditional_drop: Option<bool>,
}

/// A rule of nftables with address translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftNat {
    /// The table with its family.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Whether it translates sources, or else destinations.
    pub source: bool,
    /// The sources that it matches.
    pub of: NatSource,
    /// The destination network that it matches, if it is known.
    pub at: Option<IpNet>,
    /// The first address that it translates to, if it is known.
    pub to: Option<IpAddr>,
}

/// The sources that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatSource {
    /// Any, or it is not known.
    Any,
    /// These.
    Net(IpNet),
}

/// A frame whose IP packet bypasses iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EncapsulatedFrame {
    /// The device that it was sent from or to.
    pub device: GuestDevice,
    /// The direction: to the device or from it.
    pub direction: Direction,
    /// The encapsulation of the packet.
    pub encapsulation: Encapsulation,
}

/// The state of the kernel, and the bridges that devices are attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The tables of the iptables tools.
    pub tables: Vec<ForeignTable>,
    /// The families whose live PVEFW-FORWARD does not jump to the guests' chains.
    pub without_physdev: Vec<Family>,
    /// The tools in unused variants that contain chains of ours.
    pub leftover_tools: Vec<String>,
    /// Base chains of nftables that belong to other programs.
    pub chains: Vec<NftChain>,
    /// Address translation of nftables.
    pub nat: Vec<NftNat>,
    /// Tables of nftables that are not read or not as a whole, each with the reason.
    pub unread: Vec<(String, String)>,
    /// The tables of the nftables backend.
    pub backend_tables: Vec<String>,
    /// Whether the kernel refuses our rules about connections in bridges.
    pub untracked: bool,
    /// `net.bridge.bridge-nf-call-iptables` and `-ip6tables`; `None` if the kernel does not have them.
    pub bridge_filtering: PerFamily<Option<bool>>,
    /// Each network device with the bridge that it is a port of; `None` if it is not a port.
    pub attached: Arc<BTreeMap<String, Option<String>>>,
    /// Recently received frames whose IP packets bypass iptables.
    pub carried: Vec<EncapsulatedFrame>,
    /// The queues (NFQUEUE) that programs read; empty if no guest needs one.
    pub queues: BTreeSet<u16>,
    /// The addresses of the node with their networks, by interface.
    pub networks: Vec<(String, IpNet)>,
}

impl Evidence {
    /// Whether any addresses are translated, so that the node's networks are needed.
    #[must_use]
    pub fn translates(&self) -> bool {
        !self.nat.is_empty() || self.tables.iter().any(|table| matches!(table.kind, TableKind::Nat(_)))
    }
}
