//! The files of the cluster and the host understood, and what of them matters to guests.
use super::sets::{self, Defined, SetNames, Sets};
use crate::builtin::databases::Databases;
use crate::config::{Alias, Cluster, ClusterOptions, Definitions, Group, Host, IpSet, Parser};
use crate::inputs::{File, Tree};
use crate::iptables::limits;
use crate::model::{LogRatelimit, Report};
use crate::paths::{CLUSTER, TreeFile, VNET_FOLDER};
use std::sync::Arc;

/// What the world is read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    root: String,
    node: String,
    files: Vec<(Arc<str>, File)>,
    /// The node's own network: the alias `local_network` where cluster.fw has none.
    network: Alias,
    /// The name databases.
    pub databases: Arc<Databases>,
}

impl Source {
    /// What there is in a tree.
    pub fn of(tree: &Tree, node: &str, network: Alias, databases: Arc<Databases>) -> Self {
        let below = tree.files.range(Arc::from(VNET_FOLDER)..).take_while(|(path, _)| path.starts_with(VNET_FOLDER));
        let vnets = below.filter(|(path, _)| is_vnet(path));
        let own = [CLUSTER.to_string(), TreeFile::Host(node).to_string()];
        let own = own.iter().filter_map(|path| tree.files.get_key_value(path.as_str()));
        let files = own.chain(vnets).map(|(path, file)| (path.clone(), file.clone())).collect();
        Source { root: tree.root.clone(), node: node.to_string(), files, network, databases }
    }
}

fn is_vnet(path: &str) -> bool {
    matches!(TreeFile::parse(path), Some(TreeFile::Vnet(_)))
}

/// What is not any guest's own.
pub struct World {
    /// What it was read from.
    pub source: Source,
    /// `firewall/cluster.fw`
    pub cluster: Cluster,
    /// `nodes/<node>/host.fw`
    pub host: Host,
    /// The sets of cluster.fw.
    pub sets: Vec<Defined>,
    /// The names of those that are not lost.
    pub set_names: SetNames,
    /// The faults of these files, and of vnets'.
    pub reports: Vec<Report>,
}

impl World {
    /// Reads the files.
    pub fn read(tree: &Tree, source: Source) -> Self {
        let mut reports = Vec::new();
        let parser = Parser { databases: &source.databases };
        let content = |path: &str| tree.content(path).unwrap_or_default();
        let cluster = parser.cluster(content(CLUSTER), &tree.label(CLUSTER), &source.network, &mut reports);
        let path = TreeFile::Host(&source.node).to_string();
        let host = parser.host(content(&path), &tree.label(&path), &cluster, &mut reports);
        let cluster = limits::cluster(&cluster, &mut reports).into_owned();
        let host = limits::host(&host, &mut reports).into_owned();
        for (path, _) in source.files.iter().filter(|(path, _)| is_vnet(path)) {
            parser.vnet(content(path), &tree.label(path), &cluster, &mut reports);
        }
        let sets = sets::of_cluster(&cluster);
        let set_names = SetNames::of(&sets, &Sets::default().add(&sets));
        World { source, cluster, host, sets, set_names, reports }
    }
}

/// All that the rules of guests are made from besides the guests' own files. As long as it is the same, a guest's rules
/// change with these alone.
#[derive(PartialEq)]
pub struct Basis {
    /// The folder that was read.
    pub root: String,
    /// The node's name.
    pub node: String,
    /// The name databases.
    pub databases: Arc<Databases>,
    /// Of cluster.fw the names that guests may use, and the values of aliases; not what is in sets and groups.
    pub cluster: Cluster,
    /// The names in the kernel of the cluster's sets.
    pub set_names: SetNames,
    /// How log rules are limited.
    pub ratelimit: LogRatelimit,
    /// Whether there are ebtables rules.
    pub ebtables: bool,
    /// Whether the firewall is on: if not, the files of guests are only checked.
    pub enabled: bool,
}

impl Basis {
    /// What guests see of the world.
    pub fn of(world: &World, enabled: bool) -> Self {
        let Source { root, node, files: _, network: _, databases } = &world.source;
        let ClusterOptions {
            enable: _,
            ebtables,
            policy_in: _,
            policy_out: _,
            policy_forward: _,
            log_ratelimit,
            lines: _,
        } = &world.cluster.options;
        Basis {
            root: root.clone(),
            node: node.clone(),
            databases: databases.clone(),
            cluster: outline(&world.cluster),
            set_names: world.set_names.clone(),
            ratelimit: log_ratelimit.clone(),
            ebtables: *ebtables,
            enabled,
        }
    }
}

fn outline(cluster: &Cluster) -> Cluster {
    // of what a new field holds, guests may have to see more than this
    let Cluster { file, options: _, definitions, local_network, own_local_network, rules: _, groups } = cluster;
    let Definitions { aliases, sets } = definitions;
    let sets = sets.keys().map(|name| (name.clone(), IpSet::default())).collect();
    Cluster {
        file: file.clone(),
        options: ClusterOptions::default(),
        definitions: Definitions { aliases: aliases.clone(), sets },
        local_network: local_network.clone(),
        own_local_network: *own_local_network,
        rules: Vec::new(),
        groups: groups.keys().map(|name| (name.clone(), Group::default())).collect(),
    }
}
