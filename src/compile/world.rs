//! The whole tree understood: what all rules are made from.
use super::{CorosyncPeer, Localnet};
use crate::config::{Alias, Cluster, Guest, Host, Parser, Report};
use crate::inputs::{Facts, File, Tree};
use crate::node::{self, Corosync, Device, Listed};
use crate::ruleset::{Interface, Spelled};
use crate::tables::databases::Databases;
use std::net::IpAddr;

/// The network that counts as local where none is found.
const NO_NETWORK: &str = "127.0.0.0/8";

/// A guest of the node that may have rules.
pub struct Unit {
    /// Which guest it is.
    pub listed: Listed,
    /// What is known of it.
    pub body: Body,
}

/// What is known of a guest.
pub enum Body {
    /// Its firewall file and its devices.
    Rules {
        /// The firewall file.
        guest: Guest,
        /// The firewalled devices, in the order of rules.
        devices: Vec<Device>,
    },
    /// A file of it cannot be read: these devices keep their live rules.
    Kept(Vec<Interface>),
}

impl Unit {
    /// The guest's configuration and devices, where they are known.
    pub fn rules(&self) -> Option<(&Guest, &[Device])> {
        match &self.body {
            Body::Rules { guest, devices } => Some((guest, devices)),
            Body::Kept(_) => None,
        }
    }

    /// The same, of a guest whose firewall is on.
    pub fn enabled(&self) -> Option<(&Guest, &[Device])> {
        self.rules().filter(|(guest, _)| guest.options.enable)
    }

    /// The devices that have rules, made anew or kept.
    pub fn handled(&self) -> impl Iterator<Item = &Interface> {
        let (made, kept): (&[Device], &[Interface]) = match &self.body {
            Body::Rules { guest, devices } if guest.options.enable => (devices, &[]),
            Body::Rules { .. } => (&[], &[]),
            Body::Kept(kept) => (&[], kept),
        };
        made.iter().map(|device| &device.name).chain(kept)
    }
}

/// Everything that rules are made from.
pub struct World {
    /// `firewall/cluster.fw`
    pub cluster: Cluster,
    /// `nodes/<node>/host.fw`
    pub host: Host,
    /// The guests that have a firewall file, in the order of rules.
    pub units: Vec<Unit>,
    /// `corosync.conf`
    pub corosync: Option<CorosyncLinks>,
    /// The node's own network.
    pub localnet: Localnet,
}

/// The addresses of corosync's links, resolved.
pub struct CorosyncLinks {
    /// Whether the transport uses multicast.
    pub multicast: bool,
    /// The own address and that of another node on the same link, by node and link.
    pub pairs: Vec<(IpAddr, IpAddr)>,
}

impl World {
    /// Reads the tree.
    pub fn read(tree: &Tree, facts: &Facts, reports: &mut Vec<Report>) -> Self {
        let databases = Databases::parse(&facts.protocols, &facts.services, &facts.ethertypes);
        let parser = Parser { databases: &databases };
        node::faults(tree, &facts.node, reports);
        let address = node_address(tree, facts);
        let detected = address.and_then(|address| node::detect(address, &facts.routes_v4, &facts.routes_v6));
        let network = own_network(detected.as_deref());
        let content = |path: &str| tree.content(path).unwrap_or_default();

        let path = "firewall/cluster.fw";
        let cluster = parser.cluster(content(path), &tree.label(path), &network, reports);
        let path = format!("nodes/{}/host.fw", facts.node);
        let host = parser.host(content(&path), &tree.label(&path), &cluster, reports);
        for path in tree.files.keys().filter(|path| path.starts_with("sdn/firewall/") && path.ends_with(".fw")) {
            parser.vnet(content(path), &tree.label(path), &cluster, reports);
        }
        let guests = node::listed(tree.content(".vmlist"), &facts.node, tree.files.keys().map(String::as_str));
        let units =
            guests.into_iter().filter_map(|listed| unit(listed, tree, facts, parser, &cluster, reports)).collect();

        let corosync = tree.content("corosync.conf").map(|text| Corosync::parse(&String::from_utf8_lossy(text)));
        let localnet = Localnet {
            node: facts.node.clone(),
            address,
            detected,
            used: cluster.local_network.text().to_string(),
            user_defined: cluster.own_local_network,
            corosync: corosync.as_ref().map(|corosync| peers(corosync, facts)),
        };
        let corosync =
            corosync.map(|corosync| CorosyncLinks { multicast: corosync.multicast, pairs: pairs(&corosync, facts) });
        World { cluster, host, units, corosync, localnet }
    }
}

/// The network that was found, or else the loopback network.
fn own_network(detected: Option<&str>) -> Alias {
    let spelled = |text: &str| Spelled::new(text, text.parse().ok()?);
    let loopback = || spelled(NO_NETWORK).expect("a constant network");
    detected.and_then(spelled).unwrap_or_else(loopback)
}

/// A guest with a firewall file; `None` without one, or without a configuration: it is not firewalled at all.
fn unit(
    listed: Listed,
    tree: &Tree,
    facts: &Facts,
    parser: Parser<'_>,
    cluster: &Cluster,
    reports: &mut Vec<Report>,
) -> Option<Unit> {
    let (fw_path, conf_path) = (listed.fw(), listed.conf(&facts.node));
    let (fw, conf) = (tree.files.get(&fw_path)?, tree.files.get(&conf_path)?);
    let (File::Content(fw), File::Content(conf)) = (fw, conf) else {
        for (path, file) in [(&fw_path, fw), (&conf_path, conf)] {
            if let File::Unreadable(why) = file {
                let text = format!("cannot be read ({why}): guest {} keeps its live rules", listed.vmid);
                reports.push(Report::file(&tree.label(path), text));
            }
        }
        let own = |device: &&String| listed.owns(device);
        let devices = facts.live_devices.iter().filter(own).filter_map(|device| Interface::new(device)).collect();
        return Some(Unit { listed, body: Body::Kept(devices) });
    };
    let container = listed.kind == node::GuestKind::Container;
    let guest = parser.guest(fw, &tree.label(&fw_path), container, cluster, reports);
    let devices = node::devices(conf, &listed, &tree.label(&conf_path), reports);
    Some(Unit { listed, body: Body::Rules { guest, devices } })
}

/// The node's address: by `.members`, else the first that its name resolves to and that is no loopback address.
fn node_address(tree: &Tree, facts: &Facts) -> Option<IpAddr> {
    let listed = tree.content(".members").and_then(|members| node::node_address(members, &facts.node).ok()?);
    listed.or_else(|| facts.resolved.get(&facts.node)?.iter().copied().find(|address| !address.is_loopback()))
}

/// The address that stands for a link's value.
fn resolve(corosync: &Corosync, value: &str, facts: &Facts) -> Option<IpAddr> {
    let literal = value.parse().ok();
    literal.or_else(|| corosync.ip_version.pick(facts.resolved.get(value)?))
}

fn peers(corosync: &Corosync, facts: &Facts) -> Vec<CorosyncPeer> {
    let others = corosync.nodes.iter().filter(|(name, _)| **name != facts.node);
    let peers = others.flat_map(|(name, node)| node.links.iter().map(move |(key, value)| (name, key, value)));
    peers
        .filter_map(|(name, key, value)| {
            let (address, link) = (resolve(corosync, value, facts)?, node::link_number(key)?);
            Some(CorosyncPeer { node: name.clone(), address, link })
        })
        .collect()
}

fn pairs(corosync: &Corosync, facts: &Facts) -> Vec<(IpAddr, IpAddr)> {
    let Some(own) = corosync.nodes.get(&facts.node) else { return Vec::new() };
    let others = corosync.nodes.iter().filter(|(name, _)| **name != facts.node);
    let links = others.flat_map(|(_, node)| &node.links);
    links
        .filter_map(|(key, theirs)| {
            let (mine, theirs) = (resolve(corosync, own.links.get(key)?, facts)?, resolve(corosync, theirs, facts)?);
            (mine.is_ipv4() == theirs.is_ipv4()).then_some((mine, theirs))
        })
        .collect()
}

/// The host names whose addresses are needed: those in corosync.conf, and the node's own where `.members` tells no address.
pub fn names_to_resolve(tree: &Tree, node: &str) -> Vec<String> {
    let corosync = tree.content("corosync.conf").map(|text| Corosync::parse(&String::from_utf8_lossy(text)));
    let links = corosync.iter().flat_map(Corosync::host_names).map(ToString::to_string);
    let listed = tree.content(".members").and_then(|members| node::node_address(members, node).ok()?);
    let own = listed.is_none().then(|| node.to_string());
    let mut names: Vec<_> = links.chain(own).collect();
    names.sort();
    names.dedup();
    names
}
