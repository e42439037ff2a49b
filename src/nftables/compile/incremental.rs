//! The compiler that keeps what it has compiled: a guest's part is compiled again if its own files or what it [shares](Shared)
//! with the others have changed. The result is the same as that of a compiler that has kept nothing.
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

/// Compiles a node's configuration again and again, at the cost of what has changed.
#[derive(Default)]
pub struct Compiler {
    threads: usize,
    kept: Option<Kept>,
}

/// All of one compilation that may serve the next one.
struct Kept {
    configuration: Arc<Configuration>,
    context: Context,
    shared: Shared,
    guests: BTreeMap<u32, (Arc<GuestConfig>, Arc<GuestPart>)>,
    ruleset: Arc<Ruleset>,
}

/// What the rules depend on besides the configuration.
#[derive(PartialEq)]
struct Context {
    enabled: bool,
    altnames: BTreeMap<String, String>,
    networks: Vec<IpNet>,
    options: DaemonOptions,
}

impl Context {
    fn of(configuration: &Configuration, facts: &Facts) -> Self {
        Context {
            enabled: configuration.cluster.options.is_enabled(facts.now),
            altnames: facts.altnames.clone(),
            networks: networks(facts),
            options: facts.options.clone(),
        }
    }
}

impl Compiler {
    /// A compiler that has kept nothing, and uses up to so many threads where there is much to do.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Compiler { threads, kept: None }
    }

    /// Compiles a configuration; of the facts, time, interfaces, the node's addresses and the open ports matter. Of equal inputs the ruleset
    /// is the same `Arc`. It is empty where the cluster option `enable` is off.
    pub fn compile(&mut self, configuration: &Arc<Configuration>, facts: &Facts) -> Arc<Ruleset> {
        let context = Context::of(configuration, facts);
        // what a panic leaves behind is never used again
        let kept = match self.kept.take() {
            Some(kept) if Arc::ptr_eq(&kept.configuration, configuration) && kept.context == context => kept,
            old => next(old, configuration, context, self.threads),
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

fn next(old: Option<Kept>, configuration: &Arc<Configuration>, context: Context, threads: usize) -> Kept {
    let node = node_of(configuration, &context);
    let shared = Shared::of(&node);
    let mut ruleset = Ruleset::default();
    let mut guests = BTreeMap::new();
    if context.enabled {
        let old = old.filter(|old| old.shared == shared).map(|old| old.guests).unwrap_or_default();
        guests = parts(configuration, &shared, &old, threads);
        let parts: Vec<Arc<GuestPart>> = guests.values().map(|(_, part)| part.clone()).collect();
        ruleset = assemble(&node, &shared, &parts);
        let unreadable =
            configuration.guests.iter().filter(|guest| matches!(guest.files, GuestFiles::Unreadable { .. }));
        ruleset.kept = unreadable.map(|guest| guest.listed.vmid).collect();
    }
    Kept { configuration: configuration.clone(), shared, guests, ruleset: Arc::new(ruleset), context }
}

fn node_of<'a>(configuration: &'a Configuration, context: &'a Context) -> Node<'a> {
    Node {
        cluster: &configuration.cluster,
        host: &configuration.host,
        sdn: &configuration.sdn,
        vnets: &configuration.vnets,
        networks: &context.networks,
        corosync: configuration.network.corosync.as_ref(),
        altnames: &context.altnames,
        databases: &configuration.databases,
        options: &context.options,
    }
}

/// The networks that may always manage the node, besides the entries of the set `management`.
#[must_use]
pub fn management_networks(configuration: &Configuration, facts: &Facts) -> Vec<IpNet> {
    sets::management(&node_of(configuration, &Context::of(configuration, facts)))
}

type Parts = BTreeMap<u32, (Arc<GuestConfig>, Arc<GuestPart>)>;

/// The parts of all guests that are on, those of before where their files are the same.
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
