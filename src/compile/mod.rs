//! From configuration and node facts to rules: the only room that sees both worlds.
use crate::config::Report;
use crate::inputs::{Facts, Tree};
use crate::ruleset::Ruleset;
use std::net::IpAddr;
use std::sync::Arc;

/// What a configuration tree means for this node.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// Whether the cluster option `enable` is on now. If not, the ruleset is empty.
    pub enabled: bool,
    /// Whether host.fw asks for the nftables backend (`nftables: 1`).
    pub nftables: bool,
    /// The rules.
    pub ruleset: Ruleset,
    /// The faults of all files, in the order of files and lines.
    pub reports: Vec<Report>,
    /// Kernel settings that go with the rules.
    pub settings: Settings,
    /// The node's network as far as the firewall cares.
    pub localnet: Localnet,
    /// Guests and devices that have rules.
    pub handled: Handled,
}

/// Kernel settings of host.fw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `net.nf_conntrack_max`, a multiple of 8192.
    pub conntrack_max: u64,
    /// `net.netfilter.nf_conntrack_tcp_timeout_established`, in seconds.
    pub tcp_timeout_established: u64,
    /// `net.netfilter.nf_conntrack_tcp_timeout_syn_recv`, in seconds.
    pub tcp_timeout_syn_recv: u64,
    /// Whether the log daemon writes connections.
    pub log_conntrack: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            conntrack_max: 262_144,
            tcp_timeout_established: 432_000,
            tcp_timeout_syn_recv: 60,
            log_conntrack: false,
        }
    }
}

/// The node's own network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Localnet {
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: Option<IpAddr>,
    /// The network of the routing table that the address is in.
    pub detected: Option<String>,
    /// The network in use, as it is written.
    pub used: String,
    /// Whether an alias `local_network` in cluster.fw names it.
    pub user_defined: bool,
    /// With a corosync.conf: every other node's addresses.
    pub corosync: Option<Vec<CorosyncPeer>>,
}

/// An address of another node that corosync talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorosyncPeer {
    /// The other node.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// The link's number.
    pub link: u32,
}

/// How much of the node's guests is firewalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Guests with at least one device that has rules.
    pub guests: usize,
    /// Devices that have rules.
    pub devices: usize,
}

/// Compiles a configuration tree for a node. The same inputs give the same result, byte for byte.
#[must_use]
pub fn compile(_tree: &Tree, _facts: &Facts) -> Compiled {
    Compiled::default()
}

/// The host names that compiling needs the addresses of: the node's own and those in corosync.conf.
#[must_use]
pub fn names_to_resolve(_tree: &Tree, _node: &str) -> Vec<Arc<str>> {
    Vec::new()
}
