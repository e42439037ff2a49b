//! Parses configuration trees incrementally.
//!
//! The value of each file is cached with its inputs: the text, and the part of other files that its names refer to. It is
//! parsed again when either differs.
use super::aliases_and_sets::{Definitions, IpSet};
use super::configuration::{Configuration, GuestConfig, GuestFiles, Parsed};
use super::{Alias, Cluster, ClusterOptions, Group, Host, Parser, Sdn, Vnet, sdn};
use crate::inputs::{self, Facts, File, Tree};
use crate::model::guest::GuestKind;
use crate::model::{Interface, Report};
use crate::node::name_databases::Databases;
use crate::node::{self, GuestList, ListedGuest, Network};
use crate::parallel;
use crate::paths::{CLUSTER, IPAM_DATABASE, IPAM_STATE, SDN_RUNNING, TreeFile, VMLIST, VNET_DIRECTORY};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Parses configuration trees and caches the result.
#[derive(Default)]
pub struct ConfigCache {
    threads: usize,
    last: Option<Last>,
}

/// A file: its name in reports, and its content if it exists.
type SourceText = (Arc<str>, Option<File>);

/// The last configuration with its inputs.
struct Last {
    tree: Tree,
    facts: Facts,
    listing: Arc<GuestList>,
    cluster: ClusterSource,
    sdn: SdnSource,
    names: Arc<NamesInUse>,
    host: SourceText,
    vnets: BTreeMap<String, SourceText>,
    guests: Vec<Arc<GuestSource>>,
    configuration: Arc<Configuration>,
}

/// The inputs of cluster.fw.
#[derive(PartialEq)]
struct ClusterSource {
    file: SourceText,
    /// The node's network: the alias `local_network` if the file does not define it.
    network: Alias,
    databases: Arc<Databases>,
    /// The names of the IP sets of SDN.
    sdn: Arc<BTreeSet<String>>,
}

/// The inputs of the IP sets of SDN.
#[derive(PartialEq)]
struct SdnSource {
    running: SourceText,
    ipam: SourceText,
}

/// The definitions that other files can refer to. While these are unchanged, the values of other files depend only on them.
#[derive(PartialEq)]
struct NamesInUse {
    root: String,
    node: String,
    databases: Arc<Databases>,
    /// The names of the IP sets of SDN.
    sdn: Arc<BTreeSet<String>>,
    /// The names of sets and groups in cluster.fw, and the values of aliases.
    cluster: Cluster,
}

/// The inputs of a guest.
#[derive(PartialEq, Eq)]
struct GuestSource {
    listed: ListedGuest,
    fw: File,
    conf: File,
    /// Its devices with live rules, if a file cannot be read.
    live: Vec<String>,
}

impl ConfigCache {
    /// An empty cache that uses up to `threads` threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        ConfigCache { threads, last: None }
    }

    /// Parses a configuration tree. For equal inputs it returns the same `Arc`.
    pub fn read(&mut self, tree: &Tree, facts: &Facts) -> Arc<Configuration> {
        self.current(tree, facts).unwrap_or_else(|| self.read_changed(tree, facts))
    }

    /// The configuration that was read last, if it was read from equal inputs.
    #[must_use]
    pub fn current(&self, tree: &Tree, facts: &Facts) -> Option<Arc<Configuration>> {
        let last = self.last.as_ref().filter(|last| last.tree == *tree && last.facts.equal_except_time(facts));
        last.map(|last| last.configuration.clone())
    }

    /// Parses a configuration tree for which [`ConfigCache::current`] returns `None`.
    pub fn read_changed(&mut self, tree: &Tree, facts: &Facts) -> Arc<Configuration> {
        // the cache is not used again after a panic
        let last = Last::next(self.last.take().as_ref(), tree, facts, self.threads);
        let configuration = last.configuration.clone();
        self.last = Some(last);
        configuration
    }
}

impl Last {
    fn next(old: Option<&Self>, tree: &Tree, facts: &Facts, threads: usize) -> Self {
        let guests = || {
            let listing = listing(old, tree, facts);
            let guests = GuestSource::all(old, &listing, tree, facts);
            (listing, guests)
        };
        let shared = || {
            let network = Network::read(tree, facts);
            let databases = databases(old, facts);
            let sdn_source = SdnSource::of(tree);
            let sdn = old.filter(|old| old.sdn == sdn_source).map(|old| old.configuration.sdn.clone());
            let sdn = sdn.unwrap_or_else(|| Arc::new(sdn_source.read()));
            let names = sdn.names.clone();
            let source = ClusterSource { file: file(tree, CLUSTER), network: network.own(), databases, sdn: names };
            let known = old.filter(|old| old.cluster == source).map(|old| old.configuration.cluster.clone());
            let cluster = known.unwrap_or_else(|| Arc::new(source.read()));
            (network, source, cluster, sdn_source, sdn)
        };
        let reading = parallel::threads_to_make(tree.files.len(), threads);
        let ((listing, guests), (network, source, cluster, sdn_source, sdn)) = parallel::both(reading, guests, shared);
        let names = NamesInUse::of(tree, facts, &source, &cluster);
        // if the names have changed, no cached file can be reused
        let old = old.filter(|old| *old.names == names);
        let names = old.map_or_else(|| Arc::new(names), |old| old.names.clone());

        let host_source = file(tree, &TreeFile::Host(&facts.node).to_string());
        let host = old.filter(|old| old.host == host_source).map(|old| old.configuration.host.clone());
        let host = host.unwrap_or_else(|| Arc::new(names.host(&host_source)));
        let vnet_sources = vnet_sources(tree);
        let vnet = |(name, source): (&String, &SourceText)| {
            let known = old.filter(|old| old.vnets.get(name) == Some(source));
            let known = known.and_then(|old| old.configuration.vnets.get(name).cloned());
            (name.clone(), known.unwrap_or_else(|| Arc::new(names.vnet(source))))
        };
        let configuration = Configuration {
            node: facts.node.clone(),
            databases: source.databases.clone(),
            network,
            cluster,
            sdn,
            host,
            vnets: vnet_sources.iter().map(vnet).collect(),
            guests: names.guests(old, &guests, threads),
            listing_reports: listing.reports(tree).collect(),
        };
        Last {
            tree: tree.clone(),
            facts: facts.clone(),
            listing,
            cluster: source,
            sdn: sdn_source,
            names,
            host: host_source,
            vnets: vnet_sources,
            guests,
            configuration: Arc::new(configuration),
        }
    }
}

fn file(tree: &Tree, path: &str) -> SourceText {
    (tree.label(path), tree.files.get(path).cloned())
}

/// The content of a file; empty if it is absent or unreadable.
fn content((_, file): &SourceText) -> &[u8] {
    match file {
        Some(File::Content(content)) => content,
        Some(File::Unreadable(_)) | None => &[],
    }
}

/// The name of a file with its content; `None` if it is absent, empty or unreadable.
fn known(source: &SourceText) -> Option<(&Arc<str>, &[u8])> {
    Some((&source.0, content(source))).filter(|(_, content)| !content.is_empty())
}

fn vnet_sources(tree: &Tree) -> BTreeMap<String, SourceText> {
    let vnets = tree.below(VNET_DIRECTORY).filter_map(|(path, content)| match TreeFile::parse(path) {
        Some(TreeFile::Vnet(name)) => Some((name.to_string(), (tree.label(path), Some(content.clone())))),
        _ => None,
    });
    vnets.collect()
}

/// The guests of the node, parsed again if `.vmlist` differs.
fn listing(old: Option<&Last>, tree: &Tree, facts: &Facts) -> Arc<GuestList> {
    let vmlist = tree.content(VMLIST);
    let same_files = |old: &&Last| {
        old.tree.files.get(VMLIST) == tree.files.get(VMLIST) && tree.files.keys().eq(old.tree.files.keys())
    };
    let same = |old: &&Last| same_files(old) && old.facts.node == facts.node;
    match old.filter(|_| vmlist.is_some()).filter(same) {
        Some(old) => old.listing.clone(),
        None => Arc::new(GuestList::of(vmlist, &facts.node, tree.files.keys().map(|path| &**path))),
    }
}

/// The name databases, parsed again if they differ.
fn databases(old: Option<&Last>, facts: &Facts) -> Arc<Databases> {
    let same = |old: &&Last| {
        let Facts { protocols, services, ethertypes, .. } = &old.facts;
        (protocols, services, ethertypes) == (&facts.protocols, &facts.services, &facts.ethertypes)
    };
    let read = || Arc::new(Databases::parse(&facts.protocols, &facts.services, &facts.ethertypes));
    old.filter(same).map_or_else(read, |old| old.cluster.databases.clone())
}

impl SdnSource {
    fn of(tree: &Tree) -> Self {
        // the file of older versions is used only if there is no newer one
        let state = [IPAM_STATE, IPAM_DATABASE].into_iter().find(|path| tree.files.contains_key(*path));
        SdnSource { running: file(tree, SDN_RUNNING), ipam: file(tree, state.unwrap_or(IPAM_STATE)) }
    }

    fn read(&self) -> Parsed<Sdn> {
        let mut reports = Vec::new();
        for (label, file) in [&self.running, &self.ipam] {
            if let Some(File::Unreadable(why)) = file {
                reports.push(Report::file(label, format!("cannot be read ({why}): its IP sets do not exist")));
            }
        }
        let value = sdn::parse(known(&self.running), known(&self.ipam), &mut reports);
        Parsed { value, reports }
    }
}

impl ClusterSource {
    fn read(&self) -> Parsed<Cluster> {
        let mut reports = Vec::new();
        let parser = Parser { databases: &self.databases, sdn: &self.sdn };
        let value = parser.cluster(content(&self.file), &self.file.0, &self.network, &mut reports);
        Parsed { value, reports }
    }
}

impl NamesInUse {
    fn of(tree: &Tree, facts: &Facts, source: &ClusterSource, cluster: &Cluster) -> Self {
        // exhaustive: a new field must be added here if other files can refer to it
        let Cluster { file, options: _, definitions, local_network, own_local_network, rules: _, groups } = cluster;
        let Definitions { aliases, sets } = definitions;
        let sets = sets.keys().map(|name| (name.clone(), IpSet::default())).collect();
        let cluster = Cluster {
            file: file.clone(),
            options: ClusterOptions::default(),
            definitions: Definitions { aliases: aliases.clone(), sets },
            local_network: local_network.clone(),
            own_local_network: *own_local_network,
            rules: Vec::new(),
            groups: groups.keys().map(|name| (name.clone(), Group::default())).collect(),
        };
        let ClusterSource { file: _, network: _, databases, sdn } = source;
        let (root, node) = (tree.root.clone(), facts.node.clone());
        NamesInUse { root, node, databases: databases.clone(), sdn: sdn.clone(), cluster }
    }

    fn parser(&self) -> Parser<'_> {
        Parser { databases: &self.databases, sdn: &self.sdn }
    }

    fn host(&self, source: &SourceText) -> Parsed<Host> {
        let mut reports = Vec::new();
        let value = self.parser().host(content(source), &source.0, &self.cluster, &mut reports);
        Parsed { value, reports }
    }

    fn vnet(&self, source: &SourceText) -> Parsed<Vnet> {
        let mut reports = Vec::new();
        let value = self.parser().vnet(content(source), &source.0, &self.cluster, &mut reports);
        Parsed { value, reports }
    }

    /// The guests in their order, cached or parsed.
    fn guests(&self, old: Option<&Last>, sources: &[Arc<GuestSource>], threads: usize) -> Vec<Arc<GuestConfig>> {
        // both lists have the same order
        let old = old.into_iter().flat_map(|old| old.guests.iter().zip(&old.configuration.guests));
        let mut old = old.peekable();
        let known = |source: &Arc<GuestSource>| {
            while old.next_if(|(old, _)| old.listed < source.listed).is_some() {}
            old.next_if(|(old, _)| *old == source).map(|(_, guest)| guest.clone())
        };
        let known: Vec<Option<Arc<GuestConfig>>> = sources.iter().map(known).collect();
        let missing: Vec<&Arc<GuestSource>> =
            sources.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(source, _)| source).collect();
        let mut read = parallel::map(&missing, threads, |source| Arc::new(self.guest(source))).into_iter();
        known.into_iter().filter_map(|known| known.or_else(|| read.next())).collect()
    }

    fn guest(&self, source: &GuestSource) -> GuestConfig {
        let GuestSource { listed, fw, conf, live } = source;
        let label = |path: String| inputs::label(&self.root, &path);
        let (fw_label, conf_label) = (label(listed.fw()), label(listed.conf(&self.node)));
        let mut reports = Vec::new();
        let files = match (fw, conf) {
            (File::Content(fw), File::Content(conf)) => {
                let container = listed.kind == GuestKind::Container;
                let firewall = self.parser().guest(fw, &fw_label, container, &self.cluster, &mut reports).into();
                GuestFiles::Read { firewall, devices: node::devices(conf, listed, &conf_label, &mut reports) }
            }
            _ => {
                for (label, file) in [(&fw_label, fw), (&conf_label, conf)] {
                    if let File::Unreadable(why) = file {
                        let text = format!("cannot be read ({why}): guest {} keeps its live rules", listed.vmid);
                        reports.push(Report::file(label, text));
                    }
                }
                GuestFiles::Unreadable { live: live.iter().filter_map(|device| Interface::new(device)).collect() }
            }
        };
        GuestConfig { listed: listed.clone(), files, reports }
    }
}

impl GuestSource {
    /// The inputs of all guests. With the same list, only files that have changed are looked up in the tree.
    fn all(old: Option<&Last>, listing: &Arc<GuestList>, tree: &Tree, facts: &Facts) -> Vec<Arc<Self>> {
        // the list is the same value only while the tree has the same files
        let same = |old: &&Last| Arc::ptr_eq(&old.listing, listing) && old.facts.live_devices == facts.live_devices;
        let Some(old) = old.filter(same) else {
            return listing.guests.iter().filter_map(|listed| GuestSource::of(listed, tree, facts)).collect();
        };
        let files = tree.files.iter().zip(&old.tree.files);
        let changed = files.filter(|((_, new), (_, old))| new != old).map(|((path, _), _)| path);
        let changed: BTreeSet<u32> = changed.filter_map(|path| TreeFile::parse(path)?.vmid()).collect();
        let of = |source: &Arc<GuestSource>| match changed.contains(&source.listed.vmid) {
            true => GuestSource::of(&source.listed, tree, facts),
            false => Some(source.clone()),
        };
        old.guests.iter().filter_map(of).collect()
    }

    /// The inputs of a guest; `None` without a firewall file or a configuration: it then has no rules.
    fn of(listed: &ListedGuest, tree: &Tree, facts: &Facts) -> Option<Arc<Self>> {
        let fw = tree.files.get(listed.fw().as_str())?.clone();
        let conf = tree.files.get(listed.conf(&facts.node).as_str())?.clone();
        let readable = |file: &File| matches!(file, File::Content(_));
        let live = if readable(&fw) && readable(&conf) { &[][..] } else { &facts.live_devices };
        let live = live.iter().filter(|device| listed.owns(device)).cloned().collect();
        Some(Arc::new(GuestSource { listed: listed.clone(), fw, conf, live }))
    }
}
