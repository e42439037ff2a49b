//! The incremental compiler: the rules of a guest are cached, and compiled again only if its own files or [`Shared`] have
//! changed. The output is the same as with an empty cache.
use super::cached_guests::GuestTables;
use super::cached_node_tables::NodeTables;
use super::{Node, Shared, sets};
use crate::config::{Configuration, GuestFiles};
use crate::inputs::Facts;
use crate::model::DaemonOptions;
use crate::nftables::ruleset::Ruleset;
use crate::node::{self, Network};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compiles a node's configuration incrementally.
#[derive(Default)]
pub struct Compiler {
    threads: usize,
    kept: Option<CompileCache>,
}

/// The cache of one compilation for the next one.
struct CompileCache {
    configuration: Arc<Configuration>,
    inputs: NodeInputs,
    shared: Shared,
    guests: GuestTables,
    /// `None` if the cluster option `enable` is off.
    node: Option<NodeTables>,
    ruleset: Arc<Ruleset>,
}

impl CompileCache {
    /// Whether the inputs that are not files of guests are the same.
    fn has_node_of(&self, configuration: &Configuration, inputs: &NodeInputs) -> bool {
        self.inputs == *inputs && files_of_node(&self.configuration) == files_of_node(configuration)
    }
}

/// What the rules depend on besides the files of guests.
fn files_of_node(configuration: &Configuration) -> impl PartialEq {
    // exhaustive: a new field must be compared, or ignored explicitly
    let Configuration { node: _, databases, network, cluster, sdn, host, vnets, guests: _, listing_reports: _ } =
        configuration;
    let Network { localnet: _, corosync, reports: _ } = network;
    (databases, corosync, cluster, sdn, host, vnets)
}

/// The inputs of the rules besides the configuration.
#[derive(PartialEq)]
struct NodeInputs {
    enabled: bool,
    altnames: BTreeMap<String, String>,
    networks: Vec<IpNet>,
    options: DaemonOptions,
}

impl NodeInputs {
    fn of(configuration: &Configuration, facts: &Facts) -> Self {
        NodeInputs {
            enabled: configuration.cluster.options.is_enabled(facts.now),
            altnames: facts.altnames.clone(),
            networks: networks(facts),
            options: facts.options.clone(),
        }
    }
}

impl Compiler {
    /// A compiler with an empty cache that uses up to `threads` threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Compiler { threads, kept: None }
    }

    /// Compiles a configuration; of the facts, only the time, the interfaces, the node's addresses and the options are used.
    /// For equal inputs it returns the same `Arc`. The ruleset is empty if the cluster option `enable` is off.
    pub fn compile(&mut self, configuration: &Arc<Configuration>, facts: &Facts) -> Arc<Ruleset> {
        let inputs = NodeInputs::of(configuration, facts);
        // the cache is not used again after a panic
        let kept = match self.kept.take() {
            Some(kept) if Arc::ptr_eq(&kept.configuration, configuration) && kept.inputs == inputs => kept,
            old => next(old, configuration, inputs, self.threads),
        };
        let ruleset = kept.ruleset.clone();
        self.kept = Some(kept);
        ruleset
    }
}

/// The networks of the addresses that the node's name resolves to.
fn networks(facts: &Facts) -> Vec<IpNet> {
    let addresses = facts.resolved.get(&facts.node).into_iter().flatten().filter(|address| !address.is_loopback());
    let network = |address| node::detect(address, facts)?.parse().ok();
    addresses.filter_map(|address| network(*address)).collect()
}

fn next(
    old: Option<CompileCache>,
    configuration: &Arc<Configuration>,
    inputs: NodeInputs,
    threads: usize,
) -> CompileCache {
    let node = node_of(configuration, &inputs);
    let (shared, mut guests, old_tables) = match old {
        Some(old) if old.has_node_of(configuration, &inputs) => (old.shared, old.guests, old.node),
        Some(old) => {
            let shared = Shared::of(&node);
            let guests = if shared == old.shared { old.guests } else { GuestTables::default() };
            (shared, guests, None)
        }
        None => (Shared::of(&node), GuestTables::default(), None),
    };
    let (mut tables, mut ruleset) = (None, Ruleset::default());
    if inputs.enabled {
        guests.update(configuration, &shared, threads);
        let made = NodeTables::reuse_or_build(old_tables, &node, &shared, guests.uses());
        ruleset = made.with_guests(&guests);
        let unreadable =
            configuration.guests.iter().filter(|guest| matches!(guest.files, GuestFiles::Unreadable { .. }));
        ruleset.kept = unreadable.map(|guest| guest.listed.vmid).collect();
        tables = Some(made);
    }
    CompileCache {
        configuration: configuration.clone(),
        inputs,
        shared,
        guests,
        node: tables,
        ruleset: Arc::new(ruleset),
    }
}

fn node_of<'a>(configuration: &'a Configuration, inputs: &'a NodeInputs) -> Node<'a> {
    Node {
        cluster: &configuration.cluster,
        host: &configuration.host,
        sdn: &configuration.sdn,
        vnets: &configuration.vnets,
        networks: &inputs.networks,
        corosync: configuration.network.corosync.as_ref(),
        altnames: &inputs.altnames,
        databases: &configuration.databases,
        options: &inputs.options,
    }
}

/// The networks that may always manage the node, besides the entries of the set `management`.
#[must_use]
pub fn management_networks(configuration: &Configuration, facts: &Facts) -> Vec<IpNet> {
    sets::management(&node_of(configuration, &NodeInputs::of(configuration, facts)))
}
