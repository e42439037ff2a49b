//! Configuration trees compiled for nftables.
#![allow(dead_code, clippy::disallowed_methods, reason = "each test program uses a part; tests read files")]
use super::netns::Netns;
use super::trees;
use super::wait::OutputInTime;
use pve_firewall::config::ConfigCache;
use pve_firewall::inputs::{Facts, Tree};
use pve_firewall::nftables::compile::Compiler;
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::Ruleset;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The trees of `tests/nftables/trees`.
pub fn recorded(name: &str) -> Tree {
    trees::from_directory(&directory().join("trees").join(name))
}

pub fn directory() -> PathBuf {
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

/// The same, without the guests' table if the kernel does not track connections in bridges.
pub fn for_this_kernel(mut ruleset: Ruleset) -> Ruleset {
    if !has_bridge_conntrack() {
        ruleset.tables.remove(&TableName::Guests);
    }
    ruleset
}

/// Whether the kernel tracks connections in bridges, checked with `nft -c`.
pub fn has_bridge_conntrack() -> bool {
    static HAS_CONNTRACK: OnceLock<bool> = OnceLock::new();
    let probe = "add table bridge probe; add chain bridge probe c; add rule bridge probe c ct state established accept";
    let accepted = || Command::new("/usr/sbin/nft").args(["-c", probe]).output_in_time().status.success();
    *HAS_CONNTRACK.get_or_init(accepted)
}

/// The rules of a tree.
pub fn rules(tree: &Tree, facts: &Facts) -> Ruleset {
    let configuration = ConfigCache::default().read(tree, facts);
    Ruleset::clone(&Compiler::default().compile(&configuration, facts))
}

/// Whether the kernel supports connection tracking and `reject` in bridges, which the rules of guests need.
pub fn supports_guest_rules(netns: &Netns) -> bool {
    let table = "table bridge t { chain c { type filter hook prerouting priority 0; ct state new reject; }; }";
    netns.exec(&format!("nft -c '{table}' 2>/dev/null && echo yes || echo no")).trim() == "yes"
}
