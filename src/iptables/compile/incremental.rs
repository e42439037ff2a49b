//! The incremental compiler: reuses what was generated from unchanged parts of the configuration.
//!
//! The rules of a guest depend on its own files and on a [`Basis`] that rarely changes; the chains of the node depend on the
//! files of cluster and host. Each result is cached with its inputs, and generated again when these differ. The output is the
//! same, byte for byte, as with an empty cache.
use super::cached_guests::{GuestLinks, GuestRulesets};
use super::cached_node_chains::{Groups, Links, OwnChains};
use super::sets::SetNames;
use super::shared_config::{Basis, Node, SharedConfig};
use super::{Compiled, FamilyCompiler};
use crate::config::{ConfigCache, Configuration};
use crate::inputs::{Facts, Tree};
use crate::iptables::ruleset::Ruleset;
use crate::model::{DaemonOptions, Failsafe, Family, Filtered, Report};
use crate::node::Localnet;
use crate::parallel;
use crate::settings::Settings;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compiles a node's configuration incrementally.
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

    /// Compiles a configuration; of the facts, only the time and the interfaces are used.
    pub fn compile_configuration(&mut self, configuration: &Arc<Configuration>, facts: &Facts) -> Compiled {
        let last = match self.last.take() {
            Some(last) if last.is_current(configuration, facts) => last,
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
    guests: GuestRulesets,
    chains: Option<NodeChains>,
    compiled: Compiled,
}

/// The chains of the node.
struct NodeChains {
    own: OwnChains,
    links: Links,
    groups: Groups,
}

impl CompileCache {
    /// Whether the result for these inputs is cached.
    fn is_current(&self, configuration: &Arc<Configuration>, facts: &Facts) -> bool {
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
            None => (None, GuestRulesets::default(), None),
        };
        let options = &shared.cluster.options;
        let enabled = options.is_enabled(facts.now);

        let basis = Basis::of(&shared, enabled, &facts.options, &configuration.databases);
        let mut guests = if old_basis.as_ref() == Some(&basis) { old_guests } else { GuestRulesets::default() };
        drop(old_basis);
        let change = guests.compile(&configuration.guests, &basis, threads);

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
            let links = guests.links();
            let corosync = &configuration.network.corosync;
            let ips = !links.to_queues.is_empty();
            let node = Node { shared: &shared, basis: &basis, corosync, altnames: &facts.altnames, ips };
            let (made, ()) = parallel::both(
                parallel::threads_to_make(change.compiled(), threads),
                || NodeChains::reuse_or_build(old_chains, &node, links),
                || guests.update(&change, &shared, &basis),
            );
            reports.extend_from_slice(guests.set_reports());
            let mut ruleset = guests.ruleset();
            made.join(&mut ruleset);
            failsafe(&basis, &facts.options.failsafe, &mut ruleset);
            compiled.ruleset = Arc::new(ruleset);
            compiled.filtered = Filtered { host: shared.host.options.enable, ..filtered(&guests) };
            chains = Some(made);
        } else {
            guests.clear();
        }
        reports.extend(guests.iter().flat_map(|rules| rules.reports.iter().cloned()));
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
    fn reuse_or_build(old: Option<Self>, node: &Node<'_>, of_guests: GuestLinks) -> Self {
        let (own, links, groups) = match old {
            Some(old) => (Some(old.own), Some(old.links), old.groups),
            None => (None, None, Groups::default()),
        };
        let own = OwnChains::reuse_or_build(own, node);
        let groups = groups.reuse_or_build(node, own.groups.union(&of_guests.groups).collect());
        let links = Links::reuse_or_build(links, node, of_guests.devices, of_guests.to_queues);
        NodeChains { own, links, groups }
    }

    /// Adds these chains to those of the guests.
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

/// Adds the rules of `--failsafe`.
fn failsafe(basis: &Basis, failsafe: &Failsafe, ruleset: &mut Ruleset) {
    let none = SetNames::default();
    for family in Family::ALL {
        let mut compiler = FamilyCompiler::new(family, &basis.logging, &none, &none);
        compiler.failsafe(failsafe);
        ruleset.filter[family].extend(compiler.chains());
    }
}

fn filtered(guests: &GuestRulesets) -> Filtered {
    let devices = guests.iter().map(|rules| rules.devices.len()).filter(|count| *count > 0);
    devices.fold(Filtered::default(), |sum, count| Filtered {
        guests: sum.guests + 1,
        devices: sum.devices + count,
        ..sum
    })
}

/// Sorts reports in the order of files and lines.
fn in_order(mut reports: Vec<Report>) -> Vec<Report> {
    reports.sort();
    reports.dedup();
    reports
}
