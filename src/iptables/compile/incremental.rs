//! The compiler that remembers: what is made from unchanged parts of the inputs is used again.
//!
//! A guest's share of the ruleset depends on its own files and on a [`Basis`] that rarely changes; so do the parts that
//! are no guest's. Each is kept beside what it was made from, and made anew when that differs. What comes out is the
//! same as of a compiler that has seen nothing before, byte for byte.
use super::guest_ruleset::{self, Share};
use super::network::{Localnet, Network};
use super::node_chains::{Groups, Links, Node, OwnChains};
use super::sets::{Lost, Sets};
use super::shared_config::{self, Basis, World};
use super::{Compiled, Handled, ebtables, expiry, is_enabled, settings};
use crate::builtin::databases::Databases;
use crate::inputs::{Facts, Tree};
use crate::iptables::ruleset::Ruleset;
use crate::model::{Family, Report};
use crate::node::Listing;
use crate::parallel;
use crate::paths::VMLIST;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Compiles a node's configuration again and again, at the cost of what has changed.
#[derive(Default)]
pub struct Compiler {
    threads: usize,
    memory: Option<Memory>,
}

impl Compiler {
    /// A compiler that has seen nothing, and uses up to so many threads where there is much to do.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Compiler { threads, memory: None }
    }

    /// Compiles a configuration tree, as [`compile`](super::compile) does.
    pub fn compile(&mut self, tree: &Tree, facts: &Facts) -> Compiled {
        let memory = match self.memory.take() {
            Some(memory) if memory.holds(tree, facts) => memory,
            // what a panic leaves behind is never used again
            old => Memory::next(old, tree, facts, self.threads),
        };
        let compiled = memory.compiled.clone();
        self.memory = Some(memory);
        compiled
    }
}

/// All of one compilation that may serve the next one.
struct Memory {
    tree: Tree,
    facts: Facts,
    world: Arc<World>,
    basis: Basis,
    guests: Arc<Listing>,
    shares: Vec<Known>,
    chains: Option<NodeChains>,
    compiled: Compiled,
}

/// The chains that are no guest's.
struct NodeChains {
    own: OwnChains,
    links: Links,
    groups: Groups,
}

/// A share beside what it was made from.
struct Known {
    source: guest_ruleset::Source,
    share: Arc<Share>,
}

impl Memory {
    /// Whether the result for these inputs is known.
    fn holds(&self, tree: &Tree, facts: &Facts) -> bool {
        let enabled = is_enabled(self.world.cluster.options.enable, facts.now);
        enabled == self.compiled.enabled && *tree == self.tree && facts.equal_except_time(&self.facts)
    }

    fn next(old: Option<Self>, tree: &Tree, facts: &Facts, threads: usize) -> Self {
        let known = old.as_ref();
        let guests = || {
            let guests = listing(known, tree, facts);
            let sources = guests.guests.iter().filter_map(|listed| guest_ruleset::Source::of(listed, tree, facts));
            let sources: Vec<guest_ruleset::Source> = sources.collect();
            (guests, sources)
        };
        let world = || {
            let network = Network::read(tree, facts);
            let source = shared_config::Source::of(tree, &facts.node, network.own(), databases(known, facts));
            let world = known.map(|old| &old.world).filter(|world| world.source == source).cloned();
            (network, world.unwrap_or_else(|| Arc::new(World::read(tree, source))))
        };
        let ((guests, sources), (network, world)) = parallel::both(threads, guests, world);
        let (old_basis, old_shares, old_chains) = match old {
            Some(old) => (Some(old.basis), old.shares, old.chains),
            None => (None, Vec::new(), None),
        };
        let enable = world.cluster.options.enable;
        let enabled = is_enabled(enable, facts.now);

        let basis = Basis::of(&world, enabled);
        let old_shares = if old_basis.as_ref() == Some(&basis) { old_shares } else { Vec::new() };
        drop(old_basis);
        let mut shares = shares(sources, old_shares, &basis, threads);

        let mut reports = network.reports;
        reports.extend(guests.reports(tree));
        reports.extend_from_slice(&world.reports);
        let mut compiled = Compiled {
            enabled,
            expires: expiry(enable).filter(|_| enabled),
            nftables: world.host.options.nftables,
            settings: settings(&world.host.options),
            localnet: Localnet {
                used: world.cluster.local_network.text().to_string(),
                user_defined: world.cluster.own_local_network,
                ..network.localnet
            },
            ..Compiled::default()
        };
        let mut chains = None;
        if enabled {
            let sets = sets(&world, &mut shares, &basis);
            let ips = shares.iter().any(|known| !known.share.to_queues.is_empty());
            let node = Node { world: &world, corosync: &network.corosync, altnames: &facts.altnames, ips };
            reports.extend_from_slice(&sets.reports);
            let of_node = || NodeChains::again(old_chains, &node, &shares);
            let (made, mut ruleset) = parallel::both(threads, of_node, || of_guests(&shares, sets));
            made.join(&mut ruleset);
            compiled.ruleset = Arc::new(ruleset);
            compiled.handled = Handled { host: world.host.options.enable, ..handled(&shares) };
            chains = Some(made);
        }
        reports.extend(shares.iter().flat_map(|known| known.share.reports.iter().cloned()));
        compiled.reports = in_order(reports);
        Memory { tree: tree.clone(), facts: facts.clone(), world, basis, guests, shares, chains, compiled }
    }
}

impl NodeChains {
    fn again(old: Option<Self>, node: &Node<'_>, shares: &[Known]) -> Self {
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

    /// Puts them to the chains of guests.
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

/// The guests of the node, read again if `.vmlist` differs.
fn listing(old: Option<&Memory>, tree: &Tree, facts: &Facts) -> Arc<Listing> {
    let vmlist = tree.content(VMLIST);
    let same = |old: &&Memory| {
        let files = [tree, &old.tree].map(|tree| tree.files.get(VMLIST));
        files[0] == files[1] && old.facts.node == facts.node
    };
    match old.filter(|_| vmlist.is_some()).filter(same) {
        Some(old) => old.guests.clone(),
        None => Arc::new(Listing::of(vmlist, &facts.node, tree.files.keys().map(|path| &**path))),
    }
}

/// The name databases, read again if they differ.
fn databases(old: Option<&Memory>, facts: &Facts) -> Arc<Databases> {
    let same = |old: &&Memory| {
        let Facts { protocols, services, ethertypes, .. } = &old.facts;
        (protocols, services, ethertypes) == (&facts.protocols, &facts.services, &facts.ethertypes)
    };
    let read = || Arc::new(Databases::parse(&facts.protocols, &facts.services, &facts.ethertypes));
    old.filter(same).map_or_else(read, |old| old.world.source.databases.clone())
}

/// The shares of guests, in their order: those that are known, and the others made.
fn shares(sources: Vec<guest_ruleset::Source>, old: Vec<Known>, basis: &Basis, threads: usize) -> Vec<Known> {
    let mut old: BTreeMap<u32, Known> = old.into_iter().map(|known| (known.source.listed.vmid, known)).collect();
    let known =
        |source: guest_ruleset::Source| match old.remove(&source.listed.vmid).filter(|old| old.source.is(&source)) {
            Some(old) => (old.source, Some(old.share)),
            None => (source, None),
        };
    let known: Vec<(guest_ruleset::Source, Option<Arc<Share>>)> = sources.into_iter().map(known).collect();
    let missing: Vec<&guest_ruleset::Source> =
        known.iter().filter(|(_, share)| share.is_none()).map(|(source, _)| source).collect();
    let mut made = parallel::map(&missing, threads, |source| Arc::new(Share::make(source, basis))).into_iter();
    let known = known.into_iter();
    known.filter_map(|(source, share)| Some(Known { source, share: share.or_else(|| made.next())? })).collect()
}

/// The sets of all files: those of the cluster, then those of the guests by VMID. A share that looks into a set which is lost
/// to another one's is made anew.
fn sets(world: &World, shares: &mut [Known], basis: &Basis) -> Sets {
    let mut sets = Sets::default();
    sets.add(&world.sets);
    let mut by_vmid: Vec<&mut Known> = shares.iter_mut().collect();
    by_vmid.sort_unstable_by_key(|known| known.source.listed.vmid);
    for known in by_vmid {
        let lost: Lost = sets.add(&known.share.sets);
        if known.source.lost != lost {
            known.source.lost = lost;
            known.share = Arc::new(Share::make(&known.source, basis));
        }
    }
    sets
}

/// The sets, and the chains that are guests'.
fn of_guests(shares: &[Known], sets: Sets) -> Ruleset {
    let shares = || shares.iter().map(|known| &known.share);
    let mut ruleset = Ruleset { sets: sets.live, ..Ruleset::default() };
    for family in Family::ALL {
        ruleset.filter[family] = shares().flat_map(|share| &share.filter[family]).cloned().collect();
    }
    ruleset.bridge = shares().flat_map(|share| &share.bridge).cloned().collect();
    let kept = shares().filter(|share| share.kept).flat_map(|share| &share.devices);
    ruleset.kept = kept.flat_map(ebtables::kept_chains).collect();
    ruleset
}

fn handled(shares: &[Known]) -> Handled {
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
