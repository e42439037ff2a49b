//! The chains of the node; each part is reused while its inputs are unchanged.
use super::FamilyCompiler;
use super::chain_builder::{FinishedChains, Logging};
use super::device_tree::branches;
use super::ebtables::{self, BridgeChains};
use super::sets::SetNames;
use super::shared_config::{Node, SharedConfig};
use crate::config::HostOptions;
use crate::iptables::ruleset::Rule;
use crate::model::{Family, Interface, PerFamily};
use crate::node::CorosyncLinks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The compiler for chains of the node.
fn compiler<'a>(node: &Node<'a>, family: Family, none: &'a SetNames) -> FamilyCompiler<'a> {
    FamilyCompiler::new(family, &node.basis.logging, &node.shared.set_names, none)
}

/// The node's chains: standard chains, entry chains, the host's chains.
pub struct OwnChains {
    shared: Arc<SharedConfig>,
    corosync: Option<CorosyncLinks>,
    altnames: BTreeMap<String, String>,
    ips: bool,
    logging: Logging,
    /// The table `filter`.
    pub filter: PerFamily<FinishedChains>,
    /// The table `raw`.
    pub raw: PerFamily<FinishedChains>,
    /// The groups that the host's rules use.
    pub groups: BTreeSet<String>,
}

impl OwnChains {
    /// Builds the chains, or reuses the previous ones.
    pub fn reuse_or_build(old: Option<Self>, node: &Node<'_>) -> Self {
        old.filter(|old| old.is_current(node)).unwrap_or_else(|| OwnChains::make(node))
    }

    fn is_current(&self, node: &Node<'_>) -> bool {
        Arc::ptr_eq(&self.shared, node.shared)
            && self.ips == node.ips
            && self.logging == node.basis.logging
            && self.corosync == *node.corosync
            && self.altnames == *node.altnames
    }

    fn make(node: &Node<'_>) -> Self {
        // exhaustive: a new option must be used for the chains below or in the settings, or ignored explicitly
        #[rustfmt::skip]
        let HostOptions {
            enable: _, nosmurfs: _, tcpflags: _, ndp: _, nf_conntrack_allow_invalid: _, protection_synflood: _,
            protection_synflood_rate: _, protection_synflood_burst: _, nf_conntrack_tcp_timeout_syn_recv: _,
            nf_conntrack_helpers: _, log_level_in: _, log_level_out: _, tcp_flags_log_level: _, smurf_log_level: _,
            lines: _,
            // kernel settings, the other backend, and options that only that one uses
            nf_conntrack_max: _, nf_conntrack_tcp_timeout_established: _, log_nf_conntrack: _, nftables: _,
            log_level_forward: _,
        } = &node.shared.host.options;
        let mut own = OwnChains {
            shared: node.shared.clone(),
            corosync: node.corosync.clone(),
            altnames: node.altnames.clone(),
            ips: node.ips,
            logging: node.basis.logging.clone(),
            filter: PerFamily::default(),
            raw: PerFamily::default(),
            groups: BTreeSet::new(),
        };
        let none = SetNames::default();
        for family in Family::ALL {
            let mut filter = compiler(node, family, &none);
            filter.standard(&node.shared.host.options);
            filter.entries(node.shared, node.ips);
            filter.host(node);
            let mut raw = compiler(node, family, &none);
            raw.raw(&node.shared.host.options);
            own.groups.append(&mut filter.groups_in_use);
            own.filter[family] = filter.chains();
            own.raw[family] = raw.chains();
        }
        own
    }
}

/// The jumps to the chains of devices.
pub struct Links {
    devices: Vec<Interface>,
    heads: PerFamily<Vec<Rule>>,
    to_queues: Vec<Rule>,
    /// Whether there are ebtables chains, and whether also for frames to devices.
    ebtables: Option<bool>,
    /// The chains of the table `filter`.
    pub filter: PerFamily<FinishedChains>,
    /// The ebtables chains.
    pub bridge: BridgeChains,
}

impl Links {
    /// Builds the jumps to these devices, and to the IPS with these rules, or reuses the previous ones.
    pub fn reuse_or_build(old: Option<Self>, node: &Node<'_>, devices: Vec<Interface>, to_queues: Vec<Rule>) -> Self {
        let none = SetNames::default();
        let head = |family| compiler(node, family, &none).links_head(node.shared);
        let heads = PerFamily { v4: head(Family::V4), v6: head(Family::V6) };
        let ebtables = node.basis.ebtables.then_some(node.basis.strict_layer2.is_some());
        let holds = |old: &Self| {
            (&old.devices, &old.heads, &old.to_queues, old.ebtables) == (&devices, &heads, &to_queues, ebtables)
        };
        if let Some(old) = old.filter(holds) {
            return old;
        }
        let tree = branches(&devices);
        let filter = |family| {
            let mut chains = compiler(node, family, &none);
            chains.links(&heads[family], &tree);
            chains.ips(&to_queues);
            chains.chains()
        };
        let filter = PerFamily { v4: filter(Family::V4), v6: filter(Family::V6) };
        let bridge = ebtables.map(|strict| ebtables::entries(&tree, strict)).unwrap_or_default();
        Links { devices, heads, to_queues, ebtables, filter, bridge }
    }
}

/// The chains of groups.
#[derive(Default)]
pub struct Groups {
    shared: Option<Arc<SharedConfig>>,
    /// The chains of the table `filter`, by group.
    pub by_name: BTreeMap<String, PerFamily<FinishedChains>>,
}

impl Groups {
    /// Builds the chains of the groups with these names, or reuses the previous ones.
    pub fn reuse_or_build(self, node: &Node<'_>, names: BTreeSet<&String>) -> Self {
        let holds = self.shared.as_ref().is_some_and(|shared| Arc::ptr_eq(shared, node.shared));
        let mut old = if holds { self.by_name } else { BTreeMap::new() };
        let none = SetNames::default();
        let chains = |name: &str, family| {
            let mut chains = compiler(node, family, &none);
            chains.group(name, &node.shared.cluster);
            chains.chains()
        };
        let make = |name: &str| PerFamily { v4: chains(name, Family::V4), v6: chains(name, Family::V6) };
        let group = |name: &String| (name.clone(), old.remove(name).unwrap_or_else(|| make(name)));
        Groups { by_name: names.into_iter().map(group).collect(), shared: Some(node.shared.clone()) }
    }
}
