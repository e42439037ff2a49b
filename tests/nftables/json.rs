//! The JSON that `proxmox-firewall compile` prints: loading it with nft gives the same rules as an update.
use crate::netns::Netns;
use crate::rounds::rounds;
use crate::{hostile_trees, nft_trees, ranges};
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use pve_firewall::inputs::Tree;
use pve_firewall::nftables::apply::{Firewall, Outcome};
use pve_firewall::nftables::json_export::document;
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::Ruleset;
use std::fs;
use std::sync::Arc;

/// The number of generated configurations of each kind.
const TREES: usize = 6;

/// The output of `nft list` after loading a ruleset as JSON, and after an update with it.
fn listings(rules: &Ruleset) -> [String; 2] {
    let (node, other) = (Netns::new("nft-json"), Netns::new("nft-json"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), document(rules).to_string()).unwrap();
    // nft 1.0.6 reports an unknown statement, ignores it, and exits with 0
    let errors = node.exec(&format!("nft -j -f {} 2>&1", file.path().display()));
    assert_eq!(errors, "", "errors of nft");
    let rules = Arc::new(rules.clone());
    let update = |netns: &Netns| netns.run(|| Firewall::default().update(&rules));
    assert_eq!(update(&node), Outcome::default(), "an update has nothing to do");
    assert_eq!(update(&other).errors, [""; 0]);
    [node, other].map(|netns| netns.exec("nft -s list ruleset"))
}

#[test]
fn loading_the_json_gives_the_same_rules_as_an_update() {
    let mut trees: Vec<(String, Tree)> = fs::read_dir(nft_trees::directory().join("trees"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| (name.clone(), nft_trees::recorded(&name)))
        .collect();
    // each run includes the configuration with a limit per source
    trees.sort_by_key(|(name, _)| (name != "pk-synflood", name.clone()));
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(7), ..Config::default() });
    let kinds: [BoxedStrategy<Tree>; 2] = [hostile_trees::tree().boxed(), ranges::tree().boxed()];
    for number in 0..TREES {
        trees.extend(kinds.iter().map(|kind| (number.to_string(), kind.new_tree(&mut runner).unwrap().current())));
    }
    let bridges = nft_trees::supports_guest_rules(&Netns::new("nft-json"));
    let mut limited = 0;
    for (name, tree) in rounds(trees) {
        let mut rules = nft_trees::rules(&tree, &nft_trees::facts());
        if !bridges {
            rules.tables.remove(&TableName::Guests);
        }
        let [json, update] = listings(&rules);
        assert_eq!(json, update, "{name}");
        limited += usize::from(json.contains("update @") && json.contains("limit rate over"));
    }
    assert!(limited > 0, "a configuration limits connections by their source");
}
