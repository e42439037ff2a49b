//! The incremental compiler: the rules of a guest are cached, and compiled again only if its own files or [`Shared`] have
//! changed. The output is the same as with an empty cache.
use super::{GuestInput, GuestPart, Node, Shared, assemble, sets};
use crate::config::{Configuration, GuestConfig, GuestFiles};
use crate::inputs::Facts;
use crate::model::DaemonOptions;
use crate::nftables::ruleset::Ruleset;
use crate::node;
use crate::parallel;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compiles a node's configuration repeatedly; the cost depends on the changes.
#[derive(Default)]
pub struct Compiler {
    threads: usize,
    kept: Option<Kept>,
}

/// The cache of one compilation for the next one.
struct Kept {
    configuration: Arc<Configuration>,
    inputs: NodeInputs,
    shared: Shared,
    guests: BTreeMap<u32, (Arc<GuestConfig>, Arc<GuestPart>)>,
    ruleset: Arc<Ruleset>,
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

    /// Compiles a configuration; of the facts only time, interfaces, the node's addresses and the options matter. Equal inputs
    /// give the same `Arc`. The ruleset is empty if the cluster option `enable` is off.
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

fn next(old: Option<Kept>, configuration: &Arc<Configuration>, inputs: NodeInputs, threads: usize) -> Kept {
    let node = node_of(configuration, &inputs);
    let shared = Shared::of(&node);
    let mut ruleset = Ruleset::default();
    let mut guests = BTreeMap::new();
    if inputs.enabled {
        let old = old.filter(|old| old.shared == shared).map(|old| old.guests).unwrap_or_default();
        guests = parts(configuration, &shared, &old, threads);
        let parts: Vec<Arc<GuestPart>> = guests.values().map(|(_, part)| part.clone()).collect();
        ruleset = assemble(&node, &shared, &parts);
        let unreadable =
            configuration.guests.iter().filter(|guest| matches!(guest.files, GuestFiles::Unreadable { .. }));
        ruleset.kept = unreadable.map(|guest| guest.listed.vmid).collect();
    }
    Kept { configuration: configuration.clone(), shared, guests, ruleset: Arc::new(ruleset), inputs }
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

type Parts = BTreeMap<u32, (Arc<GuestConfig>, Arc<GuestPart>)>;

/// The rules of all guests with an enabled firewall, cached or compiled.
fn parts(configuration: &Configuration, shared: &Shared, old: &Parts, threads: usize) -> Parts {
    let mut parts = Parts::new();
    let mut missing = Vec::new();
    for guest in &configuration.guests {
        let GuestFiles::Read { firewall, devices } = &guest.files else { continue };
        if !firewall.options.enable {
            continue;
        }
        let vmid = guest.listed.vmid;
        match old.get(&vmid).filter(|(before, _)| Arc::ptr_eq(before, guest)) {
            Some(known) => {
                parts.insert(vmid, known.clone());
            }
            None => missing.push((guest, GuestInput { vmid, guest: firewall, devices })),
        }
    }
    let made = parallel::map(&missing, threads, |(guest, input)| {
        ((*guest).clone(), Arc::new(GuestPart::make(input, shared, &configuration.databases)))
    });
    parts.extend(made.into_iter().map(|(guest, part)| (part.vmid, (guest, part))));
    parts
}
