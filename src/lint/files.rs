//! All parsed files of a tree, including those of other nodes and their guests.
use crate::builtin::databases::Databases;
use crate::config::{Alias, Cluster, Definitions, Guest, Host, Parser, Rule, known_options};
use crate::inputs::{Facts, Tree};
use crate::model::guest::{GuestKind, parse_vmid};
use crate::model::{FileKind, Report, Spelled};
use crate::node::{self, Device};
use crate::paths::{CLUSTER, FIREWALL_FOLDER, NODES_FOLDER, SDN_FOLDER, TreeFile, VMLIST};
use std::sync::Arc;

/// A guest's firewall file, and its devices.
pub struct GuestFile {
    /// The firewall file.
    pub guest: Guest,
    /// The devices, and the text of the guest's configuration, if it is on this node.
    pub conf: Option<(Vec<Device>, String)>,
}

/// All files.
pub struct Files {
    /// `firewall/cluster.fw`
    pub cluster: Cluster,
    /// `nodes/*/host.fw`
    pub hosts: Vec<Host>,
    /// `firewall/<VMID>.fw`
    pub guests: Vec<GuestFile>,
    /// `sdn/firewall/*.fw`: each file's rules.
    pub vnets: Vec<(Arc<str>, Vec<Rule>)>,
}

/// A list of consecutive rules in a file.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    /// The file.
    pub file: &'a Arc<str>,
    /// The rules.
    pub rules: &'a [Rule],
    /// The definitions in the file, if it is a guest's.
    pub guest: Option<&'a Definitions>,
}

impl Files {
    /// Parses all files of the tree; `network` is the local network as text.
    pub fn read(tree: &Tree, facts: &Facts, databases: &Databases, network: &str, reports: &mut Vec<Report>) -> Self {
        let parser = Parser { databases };
        let content = |path: &str| tree.content(path).unwrap_or_default();
        let network = alias(network).or_else(|| alias("127.0.0.0/8")).expect("a constant network");
        let cluster = parser.cluster(content(CLUSTER), &tree.label(CLUSTER), &network, reports);
        let paths = |wanted: fn(TreeFile<'_>) -> bool| {
            tree.files.keys().filter(move |path| TreeFile::parse(path).is_some_and(wanted))
        };
        let hosts = paths(|file| matches!(file, TreeFile::Host(_)));
        let hosts = hosts.map(|path| parser.host(content(path), &tree.label(path), &cluster, reports)).collect();
        let vnets = paths(|file| matches!(file, TreeFile::Vnet(_))).map(|path| {
            let file = tree.label(path);
            let rules = parser.vnet(content(path), &file, &cluster, reports);
            (file, rules)
        });
        let vnets = vnets.collect();
        let listed = node::listed(tree.content(VMLIST), &facts.node, tree.files.keys().map(|path| &**path));
        let guests = paths(|file| matches!(file, TreeFile::Guest(_))).map(|path| {
            let here = listed.iter().find(|listed| *listed.fw() == **path);
            let container = here.is_some_and(|listed| listed.kind == GuestKind::Container);
            let guest = parser.guest(content(path), &tree.label(path), container, &cluster, reports);
            let conf = here.and_then(|listed| {
                let path = listed.conf(&facts.node);
                let conf = tree.content(&path)?;
                let devices = node::devices(conf, listed, &tree.label(&path), reports);
                Some((devices, String::from_utf8_lossy(conf).into_owned()))
            });
            GuestFile { guest, conf }
        });
        let guests = guests.collect();
        Files { cluster, hosts, guests, vnets }
    }

    /// Every list of rules in every file, including groups.
    pub fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        let cluster = &self.cluster;
        let groups = cluster.groups.values().map(|group| &group.rules);
        let own = groups.chain([&cluster.rules]).map(|rules| Section { file: &cluster.file, rules, guest: None });
        let hosts = self.hosts.iter().map(|host| Section { file: &host.file, rules: &host.rules, guest: None });
        let vnets = self.vnets.iter().map(|(file, rules)| Section { file, rules, guest: None });
        let guests = self.guests.iter().map(|GuestFile { guest, .. }| Section {
            file: &guest.file,
            rules: &guest.rules,
            guest: Some(&guest.definitions),
        });
        own.chain(hosts).chain(guests).chain(vnets)
    }
}

fn alias(text: &str) -> Option<Alias> {
    Spelled::new(text, text.parse().ok()?)
}

/// The path in the tree for a file at any location.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path in the tree.
    pub path: String,
    /// Whether the kind was derived from the content instead of the name.
    pub by_content: bool,
}

/// Finds the path in the tree for a file, by its path, or else by its content.
#[must_use]
pub fn place(path: &str, content: &[u8], node: &str) -> Place {
    let mut folders = path.rsplit('/');
    let name = folders.next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let (folder, above) = (folders.next().unwrap_or_default(), folders.next().unwrap_or_default());
    let named = match stem {
        _ if folder == FIREWALL_FOLDER && above == SDN_FOLDER => Some(FileKind::Vnet),
        "cluster" => Some(FileKind::Cluster),
        "host" => Some(FileKind::Host),
        _ if parse_vmid(stem).is_some() => Some(FileKind::Guest),
        _ => None,
    };
    let file = match named.unwrap_or_else(|| kind_of(&String::from_utf8_lossy(content))) {
        FileKind::Cluster => TreeFile::Cluster,
        FileKind::Host if above == NODES_FOLDER => TreeFile::Host(folder),
        FileKind::Host => TreeFile::Host(node),
        FileKind::Guest => TreeFile::Guest(stem),
        FileKind::Vnet => TreeFile::Vnet(stem),
    };
    Place { path: file.to_string(), by_content: named.is_none() }
}

/// The kind of file with the options and sections in a text.
fn kind_of(text: &str) -> FileKind {
    let lines = || text.lines().map(|line| line.trim().to_ascii_lowercase());
    if lines().any(|line| line.starts_with("[group ")) {
        return FileKind::Cluster;
    }
    let keys: Vec<_> = lines().filter_map(|line| line.split_once(':').map(|(key, _)| key.to_string())).collect();
    let known = |kind| keys.iter().filter(|key| known_options(kind).iter().any(|(known, _)| known == key)).count();
    let kinds = [FileKind::Vnet, FileKind::Host, FileKind::Cluster, FileKind::Guest];
    // of several equally good kinds, the last
    kinds.into_iter().max_by_key(|kind| known(*kind)).unwrap_or(FileKind::Guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_file_is_derived_from_name_or_content() {
        for (path, content, placed) in [
            ("/etc/pve/firewall/cluster.fw", "", "firewall/cluster.fw"),
            ("cluster.fw.new", "", "firewall/cluster.fw"),
            ("/etc/pve/nodes/n2/host.fw", "", "nodes/n2/host.fw"),
            ("host.fw", "", "nodes/n1/host.fw"),
            ("100.fw", "", "firewall/100.fw"),
            ("/etc/pve/sdn/firewall/vnet1.fw", "", "sdn/firewall/vnet1.fw"),
            ("new.fw", "[OPTIONS]\nebtables: 0\n", "firewall/cluster.fw"),
            ("new.fw", "[group web]\n", "firewall/cluster.fw"),
            ("new.fw", "[OPTIONS]\nnosmurfs: 0\n", "nodes/n1/host.fw"),
            ("new.fw", "[OPTIONS]\nenable: 1\nmacfilter: 0\n", "firewall/new.fw"),
        ] {
            let by_content = path == "new.fw";
            let placed = Place { path: placed.to_string(), by_content };
            assert_eq!(place(path, content.as_bytes(), "n1"), placed, "{path} {content}");
        }
    }
}
