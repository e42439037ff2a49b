//! The first update of a node without rules, compared with restores of the same scripts by the tools alone.
use crate::bench_node::{BenchNode, VARIANT};
use crate::netns::Netns;
use crate::table::{Measurement, Table, median};
use crate::tools::{self, Cost};
use pve_firewall::iptables::apply::{Firewall, VariantChoice};
use pve_firewall::iptables::ruleset::Ruleset;
use pve_firewall::system::root_directory::Root;
use std::ops::Add;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Fewer runs if one takes seconds, to keep the bench within minutes.
fn runs(guests: usize) -> usize {
    if guests < 500 { 7 } else { 3 }
}

pub fn measure(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("first updates ...");
    table.heading(Measurement::First, "First update", "at most 1.2 of the bare restores");
    let (mut all_ours, mut all_bare) = (Vec::new(), Vec::new());
    for bench_node in nodes {
        let ruleset = bench_node.compiled().ruleset;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..runs(bench_node.guests) {
            let (took, root) = update(&ruleset);
            ours.push(took);
            bare.push(restores(root.path()).wall);
        }
        all_ours.push(median(ours));
        all_bare.push(median(bare));
    }
    table.times("ours", &all_ours);
    table.times("bare restores of the same scripts", &all_bare);
    table.ratios(&all_ours, &all_bare);
}

/// The time of an update in an empty namespace, and the directory of its scripts.
fn update(ruleset: &Ruleset) -> (Duration, TempDir) {
    let netns = Netns::new("bench-first");
    let root = tempfile::tempdir().expect("a directory");
    let choice: VariantChoice = VARIANT.parse().expect("a variant");
    let mut firewall = Firewall::new(&Root::new(Some(root.path().into())), choice);
    let took = netns.run(|| {
        let began = Instant::now();
        let outcome = firewall.update(ruleset);
        assert!(outcome.errors.is_empty() && outcome.changed, "{:?}", outcome.errors);
        began.elapsed()
    });
    remove_and_wait(netns);
    (took, root)
}

fn restores(root: &Path) -> Cost {
    let netns = Netns::new("bench-bare");
    let scripts = root.join("var/lib/pve-firewall");
    let restored = [
        ("ipset", "ipsetcmdlist1"),
        ("iptables", "ip4cmdlist"),
        ("iptables", "ip4cmdlistraw"),
        ("ip6tables", "ip6cmdlist"),
        ("ip6tables", "ip6cmdlistraw"),
        ("ebtables", "ebtablescmdlist"),
    ]
    .map(|(tool, script)| tools::restore(&netns, tool, &scripts.join(script)));
    remove_and_wait(netns);
    restored.into_iter().fold(Cost::default(), Add::add)
}

/// Removes a namespace and waits, as the kernel frees it in the background.
fn remove_and_wait(netns: Netns) {
    drop(netns);
    sleep(Duration::from_millis(500));
}
