//! Compiles the configuration and facts about the node to the two tables.
//!
//! `incremental` caches results: the rules of a guest are generated from its own files and a small [`Shared`], those of the
//! node from the files of cluster and host. `rules` compiles a rule of the configuration to nft rules; `guest_filters` contains
//! the filters against spoofed sources, `standard` the chains that every configuration has.
mod cached_guests;
mod cached_node_tables;
mod chain_builder;
mod chain_context;
mod failsafe_ports;
mod forward;
mod group_chains;
mod group_uses;
mod guest;
mod guest_filters;
mod host;
mod incremental;
mod lists;
mod maps;
mod raw;
mod rules;
mod sets;
mod standard;

pub use guest::GuestPart;
pub use guest_filters::refused;
pub use incremental::{Compiler, management_networks};
pub use sets::SetFamilies;

use super::names::Name;
use super::ruleset::{Chain, Limit, Set};
use super::unsupported_values;
use crate::config::{Cluster, ClusterOptions, Guest, Host, Parsed, Sdn, Vnet};
use crate::model::{DaemonOptions, Interface, LogRatelimit};
use crate::node::name_databases::Databases;
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
    /// Whether frames whose IP packets bypass the rules are dropped.
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

/// A part of a table that is being built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePart {
    /// Its chains.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// The sets of guests.
    pub sets: BTreeMap<Name, Arc<Set>>,
    /// What its rules use that other parts may use too.
    pub uses: Uses,
}

/// What the rules of a part use that rules of other parts may use too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Long lists of rules, as sets that are named by their content.
    pub lists: BTreeMap<Name, Arc<Set>>,
    /// The sets of the cluster and of SDN.
    pub shared_sets: BTreeSet<sets::SharedSet>,
    /// The groups.
    pub groups: BTreeSet<group_uses::Use>,
}

impl Uses {
    /// Adds those of another part.
    fn join(&mut self, other: &Uses) {
        let Uses { lists, shared_sets, groups } = other;
        // most are there already, and are not copied
        for (name, list) in lists {
            if !self.lists.contains_key(name) {
                self.lists.insert(name.clone(), list.clone());
            }
        }
        for set in shared_sets {
            if !self.shared_sets.contains(set) {
                self.shared_sets.insert(set.clone());
            }
        }
        for group in groups {
            if !self.groups.contains(group) {
                self.groups.insert(group.clone());
            }
        }
    }
}

impl TablePart {
    /// Adds the content of another part.
    fn join(&mut self, other: &TablePart) {
        let TablePart { chains, sets, uses } = other;
        self.chains.extend(chains.iter().map(|(name, chain)| (name.clone(), chain.clone())));
        self.sets.extend(sets.iter().map(|(name, set)| (name.clone(), set.clone())));
        self.uses.join(uses);
    }
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
