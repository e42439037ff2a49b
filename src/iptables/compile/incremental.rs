//! The compiler that remembers: what is made from unchanged parts of the configuration is used again.
//!
//! A guest's share of the ruleset depends on what its own files say and on a [`Basis`] that rarely changes; so do the parts
//! that are no guest's. Each is kept beside what it was made from, and made again when that differs. What comes out is the
//! same as of a compiler that has seen nothing before, byte for byte.
use super::guest_ruleset::Share;
use super::node_chains::{Groups, Links, OwnChains};
use super::sets::{Lost, SetNames, Sets};
use super::shared_config::{Basis, Node, World};
use super::{Compiled, FamilyCompiler};
use crate::config::{ConfigCache, Configuration, GuestConfig};
use crate::inputs::{Facts, Tree};
use crate::iptables::names;
use crate::iptables::ruleset::Ruleset;
use crate::model::{DaemonOptions, Failsafe, Family, Handled, Report};
use crate::node::Localnet;
use crate::parallel;
use crate::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Compiles a node's configuration repeatedly; the cost depends on the changes.
#[derive(Default)]
pub struct Compiler {
    threads: usize,
    cache: ConfigCache,
    memory: Option<CompileCache>,
}

impl Compiler {
    /// A compiler with an empty cache that uses up to `threads` threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Compiler { threads, cache: ConfigCache::new(threads), memory: None }
    }

    /// Reads and compiles a configuration tree, as [`compile`](super::compile) does.
    pub fn compile(&mut self, tree: &Tree, facts: &Facts) -> Compiled {
        let configuration = self.cache.read(tree, facts);
        self.compile_configuration(&configuration, facts)
    }

    /// Compiles a configuration; of the facts only time and interfaces matter.
    pub fn compile_configuration(&mut self, configuration: &Arc<Configuration>, facts: &Facts) -> Compiled {
        let memory = match self.memory.take() {
            Some(memory) if memory.holds(configuration, facts) => memory,
            // the cache is not used again after a panic
            old => CompileCache::next(old, configuration, facts, self.threads),
        };
        let compiled = memory.compiled.clone();
        self.memory = Some(memory);
        compiled
    }
}

/// The cache of one compilation for the next one.
struct CompileCache {
    configuration: Arc<Configuration>,
    altnames: BTreeMap<String, String>,
    options: DaemonOptions,
    world: Arc<World>,
    basis: Basis,
    shares: Vec<CachedGuest>,
    chains: Option<NodeChains>,
    compiled: Compiled,
}

/// The chains of the node.
struct NodeChains {
    own: OwnChains,
    links: Links,
    groups: Groups,
}

/// The rules of a guest with their inputs.
struct CachedGuest {
    guest: Arc<GuestConfig>,
    /// Its sets dropped for name collisions.
    lost: Lost,
    share: Arc<Share>,
}

impl CompileCache {
    /// Whether the result for these inputs is cached.
    fn holds(&self, configuration: &Arc<Configuration>, facts: &Facts) -> bool {
        let enabled = configuration.cluster.options.is_enabled(facts.now);
        Arc::ptr_eq(&self.configuration, configuration)
            && enabled == self.compiled.enabled
            && self.altnames == facts.altnames
            && self.options == facts.options
    }

    fn next(old: Option<Self>, configuration: &Arc<Configuration>, facts: &Facts, threads: usize) -> Self {
        let world = World::again(old.as_ref().map(|old| &old.world), configuration);
        let (old_basis, old_shares, old_chains) = match old {
            Some(old) => (Some(old.basis), old.shares, old.chains),
            None => (None, Vec::new(), None),
        };
        let options = &world.cluster.options;
        let enabled = options.is_enabled(facts.now);

        let basis = Basis::of(&world, enabled, &facts.options, &configuration.databases);
        let old_shares = if old_basis.as_ref() == Some(&basis) { old_shares } else { Vec::new() };
        drop(old_basis);
        let mut shares = shares(&configuration.guests, old_shares, &basis, threads);

        let mut reports: Vec<Report> = configuration.reports().chain(&world.reports).cloned().collect();
        let (used, user_defined) = configuration.local_network();
        let localnet = Localnet { used: used.to_string(), user_defined, ..configuration.network.localnet.clone() };
        let mut compiled = Compiled {
            enabled,
            expires: options.expiry().filter(|_| enabled),
            nftables: world.host.options.nftables,
            settings: Settings::of(&world.host.options),
            localnet,
            ..Compiled::default()
        };
        let mut chains = None;
        if enabled {
            let sets = sets(&world, &mut shares, &basis);
            let ips = shares.iter().any(|known| !known.share.to_queues.is_empty());
            let corosync = &configuration.network.corosync;
            let node = Node { world: &world, basis: &basis, corosync, altnames: &facts.altnames, ips };
            reports.extend_from_slice(&sets.reports);
            let of_node = || NodeChains::again(old_chains, &node, &shares);
            let (made, mut ruleset) = parallel::both(threads, of_node, || of_guests(&shares, sets));
            made.join(&mut ruleset);
            failsafe(&basis, &facts.options.failsafe, &mut ruleset);
            compiled.ruleset = Arc::new(ruleset);
            compiled.handled = Handled { host: world.host.options.enable, ..handled(&shares) };
            chains = Some(made);
        }
        reports.extend(shares.iter().flat_map(|known| known.share.reports.iter().cloned()));
        compiled.reports = in_order(reports);
        let (configuration, altnames) = (configuration.clone(), facts.altnames.clone());
        CompileCache { configuration, altnames, options: facts.options.clone(), world, basis, shares, chains, compiled }
    }
}

impl NodeChains {
    fn again(old: Option<Self>, node: &Node<'_>, shares: &[CachedGuest]) -> Self {
        let (own, links, groups) = match old {
            Some(old) => (Some(old.own), Some(old.links), old.groups),
            None => (None, None, Groups::default()),
        };
        let shares = || shares.iter().map(|known| &known.share);
        let devices = shares().flat_map(|share| share.devices.iter().cloned()).collect();
        let to_queues = shares().flat_map(|share| share.to_queues.iter().cloned()).collect();
        let own = OwnChains::again(own, node);
        let in_use: BTreeSet<&String> = own.groups.iter().chain(shares().flat_map(|share| &share.groups)).collect();
        let groups = groups.again(node, in_use);
        NodeChains { links: Links::again(links, node, devices, to_queues), groups, own }
    }

    /// Adds them to the chains of the guests.
    fn join(&self, ruleset: &mut Ruleset) {
        for family in Family::ALL {
            let groups = self.groups.by_name.values().flat_map(|chains| &chains[family]);
            let own = self.own.filter[family].iter().chain(&self.links.filter[family]).chain(groups);
            ruleset.filter[family].extend(own.cloned());
            ruleset.raw[family] = self.own.raw[family].iter().cloned().collect();
        }
        ruleset.bridge.extend(self.links.bridge.iter().cloned());
    }
}

/// The rules of all guests in their order, cached or compiled.
fn shares(guests: &[Arc<GuestConfig>], old: Vec<CachedGuest>, basis: &Basis, threads: usize) -> Vec<CachedGuest> {
    // both are in the same order
    let mut old = old.into_iter().peekable();
    let known = guests.iter().map(|guest| {
        while old.next_if(|old| old.guest.listed < guest.listed).is_some() {}
        let known = old.next_if(|old| Arc::ptr_eq(&old.guest, guest));
        (guest, known)
    });
    let known: Vec<(&Arc<GuestConfig>, Option<CachedGuest>)> = known.collect();
    let missing: Vec<&Arc<GuestConfig>> =
        known.iter().filter(|(_, known)| known.is_none()).map(|(guest, _)| *guest).collect();
    let made = parallel::map(&missing, threads, |guest| Arc::new(Share::make(guest, &Lost::new(), basis)));
    let mut made = made.into_iter();
    let mut new = |guest: &Arc<GuestConfig>| {
        let share = made.next()?;
        Some(CachedGuest { guest: guest.clone(), lost: Lost::new(), share })
    };
    known.into_iter().filter_map(|(guest, known)| known.or_else(|| new(guest))).collect()
}

/// The sets of all files: those of the cluster, then those of the guests by VMID. The share of a guest with a set that is
/// dropped for a name collision is made again.
fn sets(world: &World, shares: &mut [CachedGuest], basis: &Basis) -> Sets {
    let mut sets = Sets::default();
    sets.add(&world.sets);
    let mut by_vmid: Vec<&mut CachedGuest> = shares.iter_mut().collect();
    by_vmid.sort_unstable_by_key(|known| known.guest.listed.vmid);
    for known in by_vmid {
        let lost: Lost = sets.add(&known.share.sets);
        if known.lost != lost {
            known.share = Arc::new(Share::make(&known.guest, &lost, basis));
            known.lost = lost;
        }
    }
    sets
}

/// The sets, and the chains of the guests.
fn of_guests(shares: &[CachedGuest], sets: Sets) -> Ruleset {
    let shares = || shares.iter().map(|known| &known.share);
    let mut ruleset = Ruleset { sets: sets.live, ..Ruleset::default() };
    for family in Family::ALL {
        ruleset.filter[family] = shares().flat_map(|share| &share.filter[family]).cloned().collect();
    }
    ruleset.bridge = shares().flat_map(|share| &share.bridge).cloned().collect();
    let kept = shares().filter(|share| share.kept).flat_map(|share| &share.devices);
    ruleset.kept = kept.flat_map(names::device_chains).collect();
    ruleset
}

/// Adds what stays open whatever the configuration says.
fn failsafe(basis: &Basis, failsafe: &Failsafe, ruleset: &mut Ruleset) {
    let none = SetNames::default();
    for family in Family::ALL {
        let mut compiler = FamilyCompiler::new(family, &basis.logging, &none, &none);
        compiler.failsafe(failsafe);
        ruleset.filter[family].extend(compiler.chains());
    }
}

fn handled(shares: &[CachedGuest]) -> Handled {
    let devices = shares.iter().map(|known| known.share.devices.len()).filter(|count| *count > 0);
    devices.fold(Handled::default(), |sum, count| Handled {
        guests: sum.guests + 1,
        devices: sum.devices + count,
        ..sum
    })
}

/// In the order of files and lines.
fn in_order(mut reports: Vec<Report>) -> Vec<Report> {
    reports.sort();
    reports.dedup();
    reports
}
