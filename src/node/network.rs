//! The node's network, and corosync's.
use super::corosync::{Corosync, link_number};
use super::{cluster_file_errors, localnet, members};
use crate::inputs::{Facts, Tree};
use crate::model::{Report, Severity, Spelled, printable};
use crate::paths::{COROSYNC, MEMBERS};
use ipnet::IpNet;
use std::net::IpAddr;

/// The local network if none is detected.
const NO_NETWORK: &str = "127.0.0.0/8";

/// The node's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Localnet {
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: Option<IpAddr>,
    /// The network in the routing table that contains the address.
    pub detected: Option<String>,
    /// The text of the network in use.
    pub used: String,
    /// Whether the alias `local_network` in cluster.fw defines it.
    pub user_defined: bool,
    /// With a corosync.conf: every other node's addresses.
    pub corosync: Option<Vec<CorosyncPeer>>,
    /// The links of corosync without an address.
    pub unresolved: Vec<UnresolvedLink>,
}

/// An address of another node that corosync connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorosyncPeer {
    /// The other node.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// The link number.
    pub link: u32,
}

/// A link of corosync whose name cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedLink {
    /// The node.
    pub node: String,
    /// The key of the link: `ring0_addr`.
    pub key: String,
    /// The name, printable.
    pub name: String,
}

/// The addresses of corosync's links, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorosyncLinks {
    /// Whether the transport uses multicast.
    pub multicast: bool,
    /// The node's own address and that of another node on the same link, ordered by node and link.
    pub pairs: Vec<(IpAddr, IpAddr)>,
    /// The ports that are configured for links (`mcastport`), besides the default ones.
    pub ports: Vec<u16>,
}

/// The networks according to `.members`, `corosync.conf`, the routes and the resolver.
#[derive(Clone, Debug)]
pub struct Network {
    /// The node's network, without the definition in cluster.fw.
    pub localnet: Localnet,
    /// `corosync.conf`
    pub corosync: Option<CorosyncLinks>,
    /// The reports about the files.
    pub reports: Vec<Report>,
}

impl Network {
    /// Reads these files.
    pub fn read(tree: &Tree, facts: &Facts) -> Self {
        let mut reports = Vec::new();
        cluster_file_errors::check(tree, &facts.node, &mut reports);
        let address = node_address(tree, facts);
        let detected = address.and_then(|address| localnet::detect(address, facts));
        let corosync = corosync(tree);
        let links = |corosync: &Corosync| CorosyncLinks {
            multicast: corosync.multicast,
            pairs: pairs(corosync, facts),
            ports: corosync.ports.iter().copied().collect(),
        };
        let unresolved = corosync.iter().flat_map(|corosync| unresolved(corosync, facts)).collect::<Vec<_>>();
        for UnresolvedLink { node, key, name } in &unresolved {
            let text = format!("{key} of node '{node}', '{name}', does not resolve: no rules for this link");
            reports.push(Report { severity: Severity::Warning, ..Report::file(&tree.label(COROSYNC), text) });
        }
        let localnet = Localnet {
            node: facts.node.clone(),
            address,
            detected,
            corosync: corosync.as_ref().map(|corosync| peers(corosync, facts)),
            unresolved,
            ..Localnet::default()
        };
        Network { localnet, corosync: corosync.as_ref().map(links), reports }
    }

    /// The detected network, or else the loopback network.
    pub fn own(&self) -> Spelled<IpNet> {
        let spelled = |text: &str| Spelled::new(text, text.parse().ok()?);
        let loopback = || spelled(NO_NETWORK).expect("a constant network");
        self.localnet.detected.as_deref().and_then(spelled).unwrap_or_else(loopback)
    }
}

/// The host names to resolve for compiling ([`Facts::resolved`]): those in corosync.conf, and the node's own name, because the
/// networks of its addresses may manage the node.
#[must_use]
pub fn names_to_resolve(tree: &Tree, node: &str) -> Vec<String> {
    let corosync = corosync(tree);
    let links = corosync.iter().flat_map(Corosync::host_names).map(ToString::to_string);
    let mut names: Vec<_> = links.chain([node.to_string()]).collect();
    names.sort();
    names.dedup();
    names
}

fn corosync(tree: &Tree) -> Option<Corosync> {
    tree.content(COROSYNC).map(|text| Corosync::parse(&String::from_utf8_lossy(text)))
}

/// The address in `.members`.
fn listed_address(tree: &Tree, node: &str) -> Option<IpAddr> {
    tree.content(MEMBERS).and_then(|members| members::node_address(members, node).ok()?)
}

/// The node's address: in `.members`, or else the first address of its name that is not a loopback address.
fn node_address(tree: &Tree, facts: &Facts) -> Option<IpAddr> {
    let resolved = || facts.resolved.get(&facts.node)?.iter().copied().find(|address| !address.is_loopback());
    listed_address(tree, &facts.node).or_else(resolved)
}

/// The address for the value of a link.
fn resolve(corosync: &Corosync, value: &str, facts: &Facts) -> Option<IpAddr> {
    let literal = value.parse().ok();
    literal.or_else(|| corosync.ip_version.pick(facts.resolved.get(value)?))
}

fn peers(corosync: &Corosync, facts: &Facts) -> Vec<CorosyncPeer> {
    let others = corosync.nodes.iter().filter(|(name, _)| **name != facts.node);
    let peers = others.flat_map(|(name, node)| node.links.iter().map(move |(key, value)| (name, key, value)));
    peers
        .filter_map(|(name, key, value)| {
            let (address, link) = (resolve(corosync, value, facts)?, link_number(key)?);
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

/// The links that cannot be resolved, for which no rules are generated.
fn unresolved(corosync: &Corosync, facts: &Facts) -> Vec<UnresolvedLink> {
    let links = corosync.nodes.iter().flat_map(|(node, of)| of.links.iter().map(move |link| (node, link)));
    let links = links.filter(|(_, (_, value))| resolve(corosync, value, facts).is_none());
    links
        .map(|(node, (key, value))| UnresolvedLink { node: node.clone(), key: key.clone(), name: printable(value) })
        .collect()
}
