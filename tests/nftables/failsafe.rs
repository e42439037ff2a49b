//! Ports that stay open with any configuration.
use crate::{nft_trees, trees};
use pve_firewall::inputs::File;
use pve_firewall::model::{Family, Verdict};
use pve_firewall::nftables::ruleset::Ruleset;
use pve_firewall::nftables::simulate::decide;
use pve_firewall::simulate::{End, Packet, Sent};
use std::collections::BTreeSet;
use std::net::IpAddr;

fn packet(source: &str, dest: &str, sport: u16, dport: u16) -> Packet {
    let [source, dest]: [IpAddr; 2] = [source, dest].map(|text| text.parse().unwrap());
    let new = Packet::new(Family::of(source), Packet::TCP);
    Packet { source: Some(source), dest: Some(dest), sport: Some(sport), dport: Some(dport), ..new }
}

/// The verdict, and whether `--failsafe` decided it.
fn verdict(rules: &Ruleset, packet: &Packet, from: End, to: End) -> (Verdict, bool) {
    let decided = decide(rules, &Sent { packet, from, to, broadcasts: &BTreeSet::new() });
    (decided.verdict, decided.origin.is_some_and(|origin| origin.to_string().starts_with("--failsafe")))
}

#[test]
fn failsafe_ports_are_open_with_any_configuration() {
    let mut facts = nft_trees::facts();
    let outside = || End::Port { bridge: "vmbr0".to_string(), port: "eno1".to_string() };
    let packets = [
        (packet("10.0.0.254", "10.0.0.1", 40_000, 22), true),
        (packet("10.0.0.253", "10.0.0.1", 40_000, 22), false),
        (packet("10.0.0.254", "10.0.0.1", 40_000, 8006), false),
        (packet("fd00::fe", "fd00::1", 40_000, 8007), true),
        (packet("fd01::fe", "fd00::1", 40_000, 8007), false),
        (packet("fd00::fe", "fd00::1", 40_000, 8008), false),
    ];
    for (cluster, vnet) in [
        ("[RULES]\nIN DROP\nOUT DROP\n", ""),
        ("[RULES]\nIN DROP\n[IPSET blacklist]\n10.0.0.0/24\nfd00::/16\n", ""),
        // a vnet's chain also evaluates packets from its bridge to the node
        ("policy_in: DROP\n[RULES]\nIN DROP\n", "[OPTIONS]\nenable: 1\npolicy_forward: DROP\n"),
    ] {
        let mut tree = trees::vm_tree(cluster, "");
        tree.files.insert("sdn/firewall/vmbr0.fw".into(), File::Content(vnet.as_bytes().into()));
        facts.options.failsafe = "tcp/22@10.0.0.254,tcp/8006:8007@fd00::/64".parse().unwrap();
        let rules = nft_trees::rules(&tree, &facts);
        for (packet, open) in &packets {
            let expected = if *open { (Verdict::Accept, true) } else { (Verdict::Drop, false) };
            assert_eq!(verdict(&rules, packet, outside(), End::Host), expected, "{cluster} {vnet} {packet:?}");
        }
        // a new connection from the port is not a reply
        let new = packet("10.0.0.1", "10.0.0.254", 22, 40_000);
        assert!(!verdict(&rules, &new, End::Host, outside()).1, "{cluster} {vnet}");
        facts.options.failsafe = "".parse().unwrap();
        let closed = nft_trees::rules(&tree, &facts);
        for (packet, _) in &packets {
            assert_eq!(verdict(&closed, packet, outside(), End::Host), (Verdict::Drop, false), "{packet:?}");
        }
    }
}
