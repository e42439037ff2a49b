//! All parsed files of a tree, including those of other nodes and their guests.
use crate::config::{Cluster, Configuration, Definitions, Guest, GuestFiles, Host, Parser, Rule, Vnet, known_options};
use crate::inputs::Tree;
use crate::model::guest::parse_vmid;
use crate::model::{FileKind, Report};
use crate::node::{Device, Link, has_others, links, listed};
use crate::paths::{FIREWALL_DIRECTORY, MEMBERS, NODES_DIRECTORY, SDN_DIRECTORY, SDN_RUNNING, TreeFile, VMLIST};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A guest's firewall file, and the guest's configuration if it is known.
pub struct GuestFile<'a> {
    /// The firewall file.
    pub guest: &'a Guest,
    /// Its network devices, if it is a guest of this node.
    pub conf: Option<GuestConf<'a>>,
}

/// The network devices in a guest's configuration.
pub struct GuestConf<'a> {
    /// The devices with `firewall=1`.
    pub devices: &'a [Device],
    /// All devices.
    pub links: Vec<Link>,
}

/// All files.
pub struct Files<'a> {
    /// `firewall/cluster.fw`
    pub cluster: &'a Cluster,
    /// `nodes/<node>/host.fw` of this node.
    pub host: &'a Host,
    /// The host.fw files of other nodes.
    pub other_hosts: &'a [Host],
    /// `firewall/<VMID>.fw`
    pub guests: Vec<GuestFile<'a>>,
    /// `sdn/firewall/*.fw`
    pub vnets: Vec<&'a Vnet>,
    /// The bridges that guests of this node are attached to.
    pub bridges: BTreeSet<String>,
    /// Whether the cluster has other nodes.
    pub other_nodes: bool,
    /// Whether the tree is a complete configuration and not only single files, so that files absent from it do not exist.
    pub whole: bool,
}

/// The files that do not belong to the configuration of this node.
pub struct OtherFiles {
    hosts: Vec<Host>,
    guests: Vec<Guest>,
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

impl OtherFiles {
    /// Reads the files of other nodes, and of guests that are not on this node.
    pub fn read(tree: &Tree, configuration: &Configuration, reports: &mut Vec<Report>) -> Self {
        let parser = Parser { databases: &configuration.databases, sdn: &configuration.sdn.names };
        let cluster = &configuration.cluster;
        let known: BTreeSet<String> = configuration.guests.iter().map(|guest| guest.listed.fw()).collect();
        let (mut hosts, mut guests) = (Vec::new(), Vec::new());
        for path in tree.files.keys() {
            let (content, label) = (tree.content(path).unwrap_or_default(), tree.label(path));
            match TreeFile::parse(path) {
                Some(TreeFile::Host(node)) if node != configuration.node => {
                    hosts.push(parser.host(content, &label, cluster, reports));
                }
                Some(TreeFile::Guest(_)) if !known.contains(&**path) => {
                    guests.push(parser.guest(content, &label, false, cluster, reports));
                }
                _ => {}
            }
        }
        OtherFiles { hosts, guests }
    }
}

impl<'a> Files<'a> {
    /// All files of the tree.
    pub fn of(tree: &Tree, configuration: &'a Configuration, other: &'a OtherFiles) -> Self {
        let Configuration { node, cluster, host, vnets, guests, .. } = configuration;
        let own = guests.iter().filter_map(|config| match &config.files {
            GuestFiles::Read { firewall, devices } => {
                let conf = tree.content(&config.listed.conf(node)).unwrap_or_default();
                let links = links(conf, &config.listed);
                Some(GuestFile { guest: firewall, conf: Some(GuestConf { devices, links }) })
            }
            GuestFiles::Unreadable { .. } => None,
        });
        let others = other.guests.iter().map(|guest| GuestFile { guest, conf: None });
        Files {
            cluster,
            host,
            other_hosts: &other.hosts,
            guests: own.chain(others).collect(),
            vnets: vnets.values().map(|vnet| &vnet.value).collect(),
            bridges: bridges(tree, node),
            other_nodes: tree.content(MEMBERS).is_some_and(|members| has_others(members, node)),
            whole: tree.files.keys().any(|path| {
                matches!(
                    TreeFile::parse(path),
                    Some(TreeFile::VmList | TreeFile::Cluster | TreeFile::GuestConfig { .. })
                )
            }),
        }
    }

    /// Every list of rules in every file, including groups.
    pub fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        let cluster = self.cluster;
        let groups = cluster.groups.values().map(|group| &group.rules);
        let own = groups.chain([&cluster.rules]).map(|rules| Section { file: &cluster.file, rules, guest: None });
        let hosts = [self.host].into_iter().chain(self.other_hosts).map(|host| Section {
            file: &host.file,
            rules: &host.rules,
            guest: None,
        });
        let vnets = self.vnets.iter().map(|vnet| Section { file: &vnet.file, rules: &vnet.rules, guest: None });
        let guests = self.guests.iter().map(|GuestFile { guest, .. }| Section {
            file: &guest.file,
            rules: &guest.rules,
            guest: Some(&guest.definitions),
        });
        own.chain(hosts).chain(guests).chain(vnets)
    }
}

/// The bridges in the configurations of all guests of a node, whether they have firewall files or not.
fn bridges(tree: &Tree, node: &str) -> BTreeSet<String> {
    let guests = listed(tree.content(VMLIST), node, tree.files.keys().map(|path| &**path));
    let links = guests.iter().flat_map(|guest| links(tree.content(&guest.conf(node)).unwrap_or_default(), guest));
    links.filter_map(|link| link.bridge).collect()
}

/// The path in the tree for a file at any location.
#[derive(Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// Its path in the tree.
    pub path: String,
    /// Whether the kind was derived from the content instead of the name.
    pub by_content: bool,
}

/// The names of the vnets of a tree: those with a firewall file, and those in the running SDN configuration.
#[must_use]
pub fn vnets(tree: &Tree) -> BTreeSet<String> {
    let of_files = tree.files.keys().filter_map(|path| match TreeFile::parse(path)? {
        TreeFile::Vnet(name) => Some(name.to_string()),
        _ => None,
    });
    let running = tree.content(SDN_RUNNING).unwrap_or_default();
    // errors in it are reported when its sets are read
    let running: serde_json::Value = serde_json::from_slice(running).unwrap_or_default();
    let ids = running["vnets"]["ids"].as_object().into_iter().flat_map(serde_json::Map::keys).cloned();
    of_files.chain(ids).collect()
}

/// Finds the path in the tree for a file, by its path, by the name of one of these vnets, or else by its content.
#[must_use]
pub fn place(path: &str, content: &[u8], node: &str, vnets: &BTreeSet<String>) -> FilePlace {
    let mut directories = path.rsplit('/');
    let name = directories.next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let (directory, above) = (directories.next().unwrap_or_default(), directories.next().unwrap_or_default());
    let named = match stem {
        _ if directory == FIREWALL_DIRECTORY && above == SDN_DIRECTORY => Some(FileKind::Vnet),
        "cluster" => Some(FileKind::Cluster),
        "host" => Some(FileKind::Host),
        _ if parse_vmid(stem).is_some() => Some(FileKind::Guest),
        _ if vnets.contains(stem) => Some(FileKind::Vnet),
        _ => None,
    };
    let file = match named.unwrap_or_else(|| kind_of(&String::from_utf8_lossy(content))) {
        FileKind::Cluster => TreeFile::Cluster,
        FileKind::Host if above == NODES_DIRECTORY => TreeFile::Host(directory),
        FileKind::Host => TreeFile::Host(node),
        FileKind::Guest => TreeFile::Guest(stem),
        FileKind::Vnet => TreeFile::Vnet(stem),
    };
    FilePlace { path: file.to_string(), by_content: named.is_none() }
}

/// The kind of file with the options and sections in a text.
fn kind_of(text: &str) -> FileKind {
    let lines = || text.lines().map(|line| line.trim().to_ascii_lowercase());
    if lines().any(|line| line.starts_with("[group ")) {
        return FileKind::Cluster;
    }
    let keys: Vec<_> = lines().filter_map(|line| line.split_once(':').map(|(key, _)| key.to_string())).collect();
    let known =
        |kind| keys.iter().filter(|key| known_options(kind).iter().any(|known| known.key == key.as_str())).count();
    let kinds = [FileKind::Vnet, FileKind::Host, FileKind::Cluster, FileKind::Guest];
    // of several equally good kinds, the last
    kinds.into_iter().max_by_key(|kind| known(*kind)).unwrap_or(FileKind::Guest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::File;

    #[test]
    fn the_kind_of_a_file_is_derived_from_name_or_content() {
        let files = [("sdn/firewall/vnet0.fw", ""), (SDN_RUNNING, r#"{"vnets":{"ids":{"my-vnet":{"zone":"z"}}}}"#)];
        let files = files.map(|(path, text)| (path.into(), File::Content(text.as_bytes().into())));
        let tree = Tree { root: "/pve".into(), files: files.into_iter().collect() };
        for (path, content, placed) in [
            ("/etc/pve/firewall/cluster.fw", "", "firewall/cluster.fw"),
            ("cluster.fw.new", "", "firewall/cluster.fw"),
            ("/etc/pve/nodes/n2/host.fw", "", "nodes/n2/host.fw"),
            ("host.fw", "", "nodes/n1/host.fw"),
            ("100.fw", "", "firewall/100.fw"),
            ("/etc/pve/sdn/firewall/vnet1.fw", "", "sdn/firewall/vnet1.fw"),
            ("vnet0.fw", "[OPTIONS]\nmacfilter: 0\n", "sdn/firewall/vnet0.fw"),
            ("my-vnet.fw", "", "sdn/firewall/my-vnet.fw"),
            ("new.fw", "[OPTIONS]\nebtables: 0\n", "firewall/cluster.fw"),
            ("new.fw", "[group web]\n", "firewall/cluster.fw"),
            ("new.fw", "[OPTIONS]\nnosmurfs: 0\n", "nodes/n1/host.fw"),
            ("new.fw", "[OPTIONS]\nenable: 1\nmacfilter: 0\n", "firewall/new.fw"),
        ] {
            let by_content = path == "new.fw";
            let placed = FilePlace { path: placed.to_string(), by_content };
            assert_eq!(place(path, content.as_bytes(), "n1", &vnets(&tree)), placed, "{path} {content}");
        }
    }
}
