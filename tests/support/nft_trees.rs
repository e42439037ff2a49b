//! Configuration trees compiled for nftables.
#![allow(dead_code, clippy::disallowed_methods, reason = "each test program uses a part; tests read files")]
use super::trees;
use pve_firewall::builtin::databases::Databases;
use pve_firewall::config::{Guest, Parser, Rule};
use pve_firewall::inputs::{Facts, Tree};
use pve_firewall::iptables::compile::compile as compile_iptables;
use pve_firewall::model::guest::GuestKind;
use pve_firewall::model::{Origin, Spelled, Verdict};
use pve_firewall::nftables::compile::{Corosync, GuestInput, Node, Vnet, compile};
use pve_firewall::nftables::ruleset::Ruleset;
use pve_firewall::node::{self, Device};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The trees of `tests/nftables/trees`.
pub fn recorded(name: &str) -> Tree {
    trees::from_folder(&folder().join("trees").join(name))
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nftables")
}

/// The node of the recorded scenes: 10.0.0.1/24 and fd00::1/64.
pub fn facts() -> Facts {
    let mut facts = trees::facts();
    facts.routes_v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        vmbr0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        .to_string();
    facts.routes_v6 = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 00000100 00000001 00000000 00000001 vmbr0\n"
        .to_string();
    facts.resolved.insert("n1".to_string(), vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
    facts
}

/// The rules of a tree.
pub fn rules(tree: &Tree, facts: &Facts) -> Ruleset {
    let databases = Databases::parse(&facts.protocols, &facts.services, &facts.ethertypes);
    let parser = Parser { databases: &databases };
    let mut reports = Vec::new();
    let used = compile_iptables(tree, facts).localnet.used;
    let network = Spelled::new(&used, used.parse().unwrap()).unwrap();
    let content = |path: &str| tree.content(path).unwrap_or_default();
    let cluster =
        parser.cluster(content("firewall/cluster.fw"), &tree.label("firewall/cluster.fw"), &network, &mut reports);
    let path = "nodes/n1/host.fw";
    let host = parser.host(content(path), &tree.label(path), &cluster, &mut reports);
    let listed = node::listed(tree.content(".vmlist"), "n1", tree.files.keys().map(|path| &**path));
    let mut guests: Vec<(u32, Guest, Vec<Device>)> = Vec::new();
    for guest in &listed {
        let (Some(fw), Some(conf)) = (tree.content(&guest.fw()), tree.content(&guest.conf("n1"))) else { continue };
        let container = guest.kind == GuestKind::Container;
        let parsed = parser.guest(fw, &tree.label(&guest.fw()), container, &cluster, &mut reports);
        let devices = node::devices(conf, guest, &tree.label(&guest.conf("n1")), &mut reports);
        guests.push((guest.vmid, parsed, devices));
    }
    let vnets: Vec<(String, Arc<str>, VnetOptions, Vec<Rule>)> = tree
        .files
        .keys()
        .filter_map(|path| Some((path, path.strip_prefix("sdn/firewall/")?.strip_suffix(".fw")?)))
        .map(|(path, name)| {
            let rules = parser.vnet(content(path), &tree.label(path), &cluster, &mut reports).rules;
            (name.to_string(), tree.label(path), vnet_options(content(path)), rules)
        })
        .collect();
    let origin = Origin::Made("test".into());
    let vnets: Vec<Vnet<'_>> = vnets
        .iter()
        .map(|(name, file, (enable, policy, level), rules)| {
            let (enable, policy, level) = (*enable, *policy, *level);
            Vnet { name, file, enable, policy, level, origin: &origin, rules }
        })
        .collect();
    let pairs = corosync(tree);
    let detected = |address| node::detect(address, &facts.routes_v4, &facts.routes_v6)?.parse().ok();
    let networks: Vec<_> = facts.resolved["n1"].iter().filter_map(|address| detected(*address)).collect();
    let node = Node {
        cluster: &cluster,
        host: &host,
        vnets: &vnets,
        networks: &networks,
        corosync: pairs.as_ref().map(|(multicast, pairs)| Corosync { multicast: *multicast, pairs }),
        altnames: &facts.altnames,
        databases: &databases,
    };
    let inputs: Vec<_> =
        guests.iter().map(|(vmid, guest, devices)| GuestInput { vmid: *vmid, guest, devices }).collect();
    if cluster.options.enable == 0 { Ruleset::default() } else { compile(&node, &inputs) }
}

type VnetOptions = (bool, Verdict, Option<u8>);

fn vnet_options(text: &[u8]) -> VnetOptions {
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    let policy = if value("policy_forward") == Some("DROP") { Verdict::Drop } else { Verdict::Accept };
    let levels = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let level = value("log_level_forward").and_then(|word| levels.iter().position(|level| *level == word));
    (value("enable") == Some("1"), policy, level.map(|level| u8::try_from(level).unwrap()))
}

type Links = (bool, Vec<(std::net::IpAddr, std::net::IpAddr)>);

fn corosync(tree: &Tree) -> Option<Links> {
    let corosync = node::Corosync::parse(&String::from_utf8_lossy(tree.content("corosync.conf")?));
    let own = corosync.nodes.get("n1")?;
    let others = corosync.nodes.iter().filter(|(name, _)| *name != "n1");
    let links = others.flat_map(|(_, node)| &node.links);
    let pairs = links.filter_map(|(key, theirs)| Some((own.links.get(key)?.parse().ok()?, theirs.parse().ok()?)));
    Some((corosync.multicast, pairs.collect()))
}
