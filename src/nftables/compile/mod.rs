//! Compiles the configuration and facts about the node to the two tables.
//!
//! `incremental` caches results: the rules of a guest are generated from its own files and a small [`Shared`], those of the
//! node from the files of cluster and host. `rules` compiles a rule of the configuration to nft rules; `filters` contains the
//! filters against spoofed sources, `standard` the chains that every configuration has.
mod chain_builder;
mod chain_context;
mod failsafe_ports;
mod filters;
mod forward;
mod group_chains;
mod group_uses;
mod guest;
mod host;
mod incremental;
mod lists;
mod maps;
mod raw;
mod rules;
mod sets;
mod standard;

pub use filters::refused;
pub use guest::GuestPart;
pub use incremental::{Compiler, management_networks};
pub use sets::SetFamilies;

use super::names::{Name, TableName};
use super::ruleset::{Chain, Limit, Ruleset, Set, Table};
use super::unsupported_values;
use crate::builtin::databases::Databases;
use crate::config::{Cluster, ClusterOptions, Guest, Host, HostOptions, Parsed, Sdn, Vnet};
use crate::model::{DaemonOptions, Interface, LogRatelimit};
use crate::node::{CorosyncLinks, Device};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The configuration that does not belong to a guest.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// `firewall/cluster.fw`
    pub cluster: &'a Cluster,
    /// `nodes/<node>/host.fw`
    pub host: &'a Host,
    /// The IP sets of SDN.
    pub sdn: &'a Sdn,
    /// `sdn/firewall/<vnet>.fw`, by the name of the vnet.
    pub vnets: &'a BTreeMap<String, Arc<Parsed<Vnet>>>,
    /// The networks of the addresses that the node's name resolves to.
    pub networks: &'a [IpNet],
    /// The links of corosync; `None` without a corosync.conf.
    pub corosync: Option<&'a CorosyncLinks>,
    /// Alternative interface names, each with the name of the interface.
    pub altnames: &'a BTreeMap<String, String>,
    /// Protocols, services and ethertypes.
    pub databases: &'a Databases,
    /// The options of the daemon.
    pub options: &'a DaemonOptions,
}

/// A guest with a firewall file.
#[derive(Clone, Copy)]
pub struct GuestInput<'a> {
    /// Its VMID.
    pub vmid: u32,
    /// Its file.
    pub guest: &'a Guest,
    /// Its devices with `firewall=1`.
    pub devices: &'a [Device],
}

/// All inputs of guests' rules besides their own files. While it is unchanged, a guest's rules change only with its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The sets of the cluster and of SDN, with the families that each has addresses of.
    pub sets: SetFamilies,
    /// The security groups.
    pub groups: BTreeSet<String>,
    /// The rate limit of log rules.
    pub limit: Option<Limit>,
    /// Whether there is a set `blacklist`.
    pub blacklist: bool,
    /// Whether frames that carry IP packets past the rules are dropped.
    pub strict_layer2: bool,
}

impl Shared {
    /// The parts of the node's configuration that guests depend on.
    #[must_use]
    pub fn of(node: &Node<'_>) -> Self {
        // exhaustive: a new option must be used here or in the node's chains, or ignored explicitly
        let ClusterOptions {
            log_ratelimit,
            enable: _,
            policy_in: _,
            policy_out: _,
            policy_forward: _,
            ebtables: _,
            lines: _,
        } = &node.cluster.options;
        Shared {
            sets: sets::families(node),
            groups: node.cluster.groups.keys().cloned().collect(),
            limit: limit(log_ratelimit),
            blacklist: node.cluster.definitions.sets.contains_key("blacklist"),
            strict_layer2: node.options.strict_layer2,
        }
    }
}

/// A part of a table that is being built, with the sets and groups that it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePart {
    /// Its chains.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// Its sets: of guests, and long lists of rules.
    pub sets: BTreeMap<Name, Arc<Set>>,
    /// The sets of the cluster and of SDN that its rules use.
    pub shared_sets: BTreeSet<sets::SharedSet>,
    /// The groups that its rules use.
    pub groups: BTreeSet<group_uses::Use>,
}

impl TablePart {
    /// Adds the content of another part.
    fn join(&mut self, other: &TablePart) {
        let TablePart { chains, sets, shared_sets, groups } = other;
        self.chains.extend(chains.iter().map(|(name, chain)| (name.clone(), chain.clone())));
        self.sets.extend(sets.iter().map(|(name, set)| (name.clone(), set.clone())));
        self.shared_sets.extend(shared_sets.iter().cloned());
        self.groups.extend(groups.iter().cloned());
    }
}

/// Combines the parts of guests with the node's chains to the ruleset.
#[must_use]
pub fn assemble(node: &Node<'_>, shared: &Shared, guests: &[Arc<GuestPart>]) -> Ruleset {
    // exhaustive: a new option must be used for the chains below or in the settings, or ignored explicitly
    #[rustfmt::skip]
    let HostOptions {
        enable, nosmurfs: _, tcpflags: _, ndp: _, nf_conntrack_allow_invalid: _, protection_synflood: _,
        protection_synflood_rate: _, protection_synflood_burst: _, nf_conntrack_tcp_timeout_syn_recv: _,
        nf_conntrack_helpers: _, log_level_in: _, log_level_out: _, log_level_forward: _, tcp_flags_log_level: _,
        smurf_log_level: _, lines: _,
        // kernel settings, and the backend
        nf_conntrack_max: _, nf_conntrack_tcp_timeout_established: _, log_nf_conntrack: _, nftables: _,
    } = &node.host.options;
    let mut ruleset = Ruleset::default();
    if *enable {
        ruleset.tables.insert(TableName::Host, host_table(node, shared));
    }
    ruleset.tables.insert(TableName::Guests, guests_table(node, shared, guests));
    ruleset
}

fn host_table(node: &Node<'_>, shared: &Shared) -> Table {
    let mut part = standard::host(node, shared);
    part.join(&host::make(node, shared));
    part.join(&forward::routed(node, shared));
    part.join(&forward::vnets(node, shared, TableName::Host));
    let mut table = Table::default();
    raw::add(node, &mut table);
    maps::of_host(node, &mut table);
    finish(node, shared, TableName::Host, part, &mut table);
    table
}

fn guests_table(node: &Node<'_>, shared: &Shared, guests: &[Arc<GuestPart>]) -> Table {
    let mut part = standard::guests(node, shared);
    guests.iter().for_each(|guest| part.join(&guest.part));
    part.join(&forward::vnets(node, shared, TableName::Guests));
    let mut table = Table::default();
    maps::of_guests(node, guests, &mut table);
    finish(node, shared, TableName::Guests, part, &mut table);
    table
}

/// Adds a part to a table, with the groups and the cluster's sets that it uses.
fn finish(node: &Node<'_>, shared: &Shared, name: TableName, mut part: TablePart, table: &mut Table) {
    let groups = group_chains::make(node, shared, name, &part.groups);
    part.join(&groups);
    for set in &part.shared_sets {
        part.sets.extend(sets::shared(node, set));
    }
    table.chains.extend(part.chains);
    table.sets.extend(part.sets);
}

/// The limit of log rules: the default in place of one that the kernel cannot count, which is reported.
fn limit(ratelimit: &LogRatelimit) -> Option<Limit> {
    let limit = unsupported_values::of_log_rules(ratelimit);
    limit.or_else(|_| unsupported_values::of_log_rules(&LogRatelimit::default())).unwrap_or_default()
}

/// The real name of an interface, which may be given by an alternative name.
fn real_interface(name: &str, altnames: &BTreeMap<String, String>) -> Option<Interface> {
    Interface::new(altnames.get(name).map_or(name, String::as_str))
}
