//! The incremental compiler: reuses what was generated from unchanged parts of the configuration.
//!
//! The rules of a guest depend on its own files and on a [`Basis`] that rarely changes; the chains of the node depend on the
//! files of cluster and host. Each result is cached with its inputs, and generated again when these differ. The output is the
//! same, byte for byte, as with an empty cache.
use super::cached_node_chains::{Groups, Links, OwnChains};
use super::guest_ruleset::GuestRuleset;
use super::sets::{DroppedSets, SetNames, Sets};
use super::shared_config::{Basis, Node, SharedConfig};
use super::{Compiled, FamilyCompiler};
use crate::config::{ConfigCache, Configuration, GuestConfig};
use crate::inputs::{Facts, Tree};
use crate::iptables::names;
use crate::iptables::ruleset::Ruleset;
use crate::model::{DaemonOptions, Failsafe, Family, Filtered, Report};
use crate::node::Localnet;
use crate::parallel;
use crate::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Compiles a node's configuration repeatedly; the cost depends on the changes.
#[derive(Default)]
pub struct Compiler {
    threads: usize,
    configurations: ConfigCache,
    last: Option<CompileCache>,
}

impl Compiler {
    /// A compiler with an empty cache that uses up to `threads` threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Compiler { threads, configurations: ConfigCache::new(threads), last: None }
    }

    /// Reads and compiles a configuration tree, as [`compile`](super::compile) does.
    pub fn compile(&mut self, tree: &Tree, facts: &Facts) -> Compiled {
        let configuration = self.configurations.read(tree, facts);
        self.compile_configuration(&configuration, facts)
    }

    /// Compiles a configuration; of the facts only time and interfaces matter.
    pub fn compile_configuration(&mut self, configuration: &Arc<Configuration>, facts: &Facts) -> Compiled {
        let last = match self.last.take() {
            Some(last) if last.holds(configuration, facts) => last,
            // the cache is not used again after a panic
            old => CompileCache::next(old, configuration, facts, self.threads),
        };
        let compiled = last.compiled.clone();
        self.last = Some(last);
        compiled
    }
}

/// The cache of one compilation for the next one.
struct CompileCache {
    configuration: Arc<Configuration>,
    altnames: BTreeMap<String, String>,
    options: DaemonOptions,
    shared: Arc<SharedConfig>,
    basis: Basis,
    guests: Vec<CachedGuest>,
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
    dropped: DroppedSets,
    rules: Arc<GuestRuleset>,
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
        let shared = SharedConfig::reuse_or_build(old.as_ref().map(|old| &old.shared), configuration);
        let (old_basis, old_guests, old_chains) = match old {
            Some(old) => (Some(old.basis), old.guests, old.chains),
            None => (None, Vec::new(), None),
        };
        let options = &shared.cluster.options;
        let enabled = options.is_enabled(facts.now);

        let basis = Basis::of(&shared, enabled, &facts.options, &configuration.databases);
        let old_guests = if old_basis.as_ref() == Some(&basis) { old_guests } else { Vec::new() };
        drop(old_basis);
        let mut guests = guest_rulesets(&configuration.guests, old_guests, &basis, threads);

        let mut reports: Vec<Report> = configuration.reports().chain(&shared.reports).cloned().collect();
        let (used, user_defined) = configuration.local_network();
        let localnet = Localnet { used: used.to_string(), user_defined, ..configuration.network.localnet.clone() };
        let mut compiled = Compiled {
            enabled,
            expires: options.expiry().filter(|_| enabled),
            nftables: shared.host.options.nftables,
            settings: Settings::of(&shared.host.options),
            localnet,
            ..Compiled::default()
        };
        let mut chains = None;
        if enabled {
            let sets = sets(&shared, &mut guests, &basis);
            let ips = guests.iter().any(|known| !known.rules.to_queues.is_empty());
            let corosync = &configuration.network.corosync;
            let node = Node { shared: &shared, basis: &basis, corosync, altnames: &facts.altnames, ips };
            reports.extend_from_slice(&sets.reports);
            let of_node = || NodeChains::reuse_or_build(old_chains, &node, &guests);
            let (made, mut ruleset) = parallel::both(threads, of_node, || of_guests(&guests, sets));
            made.join(&mut ruleset);
            failsafe(&basis, &facts.options.failsafe, &mut ruleset);
            compiled.ruleset = Arc::new(ruleset);
            compiled.filtered = Filtered { host: shared.host.options.enable, ..filtered(&guests) };
            chains = Some(made);
        }
        reports.extend(guests.iter().flat_map(|known| known.rules.reports.iter().cloned()));
        compiled.reports = in_order(reports);
        let (configuration, altnames) = (configuration.clone(), facts.altnames.clone());
        CompileCache {
            configuration,
            altnames,
            options: facts.options.clone(),
            shared,
            basis,
            guests,
            chains,
            compiled,
        }
    }
}

impl NodeChains {
    fn reuse_or_build(old: Option<Self>, node: &Node<'_>, guests: &[CachedGuest]) -> Self {
        let (own, links, groups) = match old {
            Some(old) => (Some(old.own), Some(old.links), old.groups),
            None => (None, None, Groups::default()),
        };
        let rulesets = || guests.iter().map(|known| &known.rules);
        let devices = rulesets().flat_map(|rules| rules.devices.iter().cloned()).collect();
        let to_queues = rulesets().flat_map(|rules| rules.to_queues.iter().cloned()).collect();
        let own = OwnChains::reuse_or_build(own, node);
        let in_use: BTreeSet<&String> = own.groups.iter().chain(rulesets().flat_map(|rules| &rules.groups)).collect();
        let groups = groups.reuse_or_build(node, in_use);
        NodeChains { links: Links::reuse_or_build(links, node, devices, to_queues), groups, own }
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
fn guest_rulesets(
    guests: &[Arc<GuestConfig>],
    old: Vec<CachedGuest>,
    basis: &Basis,
    threads: usize,
) -> Vec<CachedGuest> {
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
    let made =
        parallel::map(&missing, threads, |guest| Arc::new(GuestRuleset::make(guest, &DroppedSets::new(), basis)));
    let mut made = made.into_iter();
    let mut new = |guest: &Arc<GuestConfig>| {
        let rules = made.next()?;
        Some(CachedGuest { guest: guest.clone(), dropped: DroppedSets::new(), rules })
    };
    known.into_iter().filter_map(|(guest, known)| known.or_else(|| new(guest))).collect()
}

/// The sets of all files: those of the cluster, then those of the guests by VMID. A guest with a set that is
/// dropped for a name collision is compiled again.
fn sets(shared: &SharedConfig, guests: &mut [CachedGuest], basis: &Basis) -> Sets {
    let mut sets = Sets::default();
    sets.add(&shared.sets);
    let mut by_vmid: Vec<&mut CachedGuest> = guests.iter_mut().collect();
    by_vmid.sort_unstable_by_key(|known| known.guest.listed.vmid);
    for known in by_vmid {
        let dropped: DroppedSets = sets.add(&known.rules.sets);
        if known.dropped != dropped {
            known.rules = Arc::new(GuestRuleset::make(&known.guest, &dropped, basis));
            known.dropped = dropped;
        }
    }
    sets
}

/// The sets, and the chains of the guests.
fn of_guests(guests: &[CachedGuest], sets: Sets) -> Ruleset {
    let rulesets = || guests.iter().map(|known| &known.rules);
    let mut ruleset = Ruleset { sets: sets.live, ..Ruleset::default() };
    for family in Family::ALL {
        ruleset.filter[family] = rulesets().flat_map(|rules| &rules.filter[family]).cloned().collect();
    }
    ruleset.bridge = rulesets().flat_map(|rules| &rules.bridge).cloned().collect();
    let kept = rulesets().filter(|rules| rules.kept).flat_map(|rules| &rules.devices);
    ruleset.kept = kept.flat_map(names::device_chains).collect();
    ruleset
}

/// Adds the rules of `--failsafe`.
fn failsafe(basis: &Basis, failsafe: &Failsafe, ruleset: &mut Ruleset) {
    let none = SetNames::default();
    for family in Family::ALL {
        let mut compiler = FamilyCompiler::new(family, &basis.logging, &none, &none);
        compiler.failsafe(failsafe);
        ruleset.filter[family].extend(compiler.chains());
    }
}

fn filtered(guests: &[CachedGuest]) -> Filtered {
    let devices = guests.iter().map(|known| known.rules.devices.len()).filter(|count| *count > 0);
    devices.fold(Filtered::default(), |sum, count| Filtered {
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
