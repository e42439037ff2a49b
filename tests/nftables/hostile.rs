//! Any bytes in any file, and the full range of valid values: nft accepts every compiled ruleset, and a second update has
//! nothing to do.
//!
//! `PVEFW_TREES=N` sets the number of configurations of each kind, with random seeds.
use crate::netns::Netns;
use crate::{hostile_trees, nft_trees, ranges};
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use pve_firewall::inputs::Tree;
use pve_firewall::nftables::apply::{Firewall, Outcome};
use pve_firewall::nftables::names::TableName;
use std::sync::Arc;

/// Configurations of each kind, without `PVEFW_TREES`; the second with `PVEFW_SHORT_TESTS`.
const TREES: usize = 12;
const FEW_TREES: usize = 4;

fn shown(tree: &Tree) -> String {
    let text = |path| String::from_utf8_lossy(tree.content(path).unwrap_or_default()).escape_debug().to_string();
    tree.files.keys().map(|path| format!("--- {path}\n{}\n", text(path))).collect()
}

#[test]
fn nft_accepts_every_compiled_ruleset() {
    let facts = nft_trees::facts();
    let (count, rng_seed) = match std::env::var("PVEFW_TREES") {
        Ok(count) => (count.parse().expect("PVEFW_TREES is a number"), RngSeed::Random),
        Err(_) if std::env::var_os("PVEFW_SHORT_TESTS").is_some() => (FEW_TREES, RngSeed::Fixed(1)),
        Err(_) => (TREES, RngSeed::Fixed(1)),
    };
    let mut runner = TestRunner::new(Config { rng_seed, ..Config::default() });
    let node = Netns::new("nft-hostile");
    let bridges = nft_trees::tracks_bridges(&node);
    let mut firewall = Firewall::default();
    let (mut rules, mut tables) = (0, 0);
    let kinds: [BoxedStrategy<Tree>; 2] = [hostile_trees::tree().boxed(), ranges::tree().boxed()];
    for round in 0..count {
        for kind in &kinds {
            let tree = kind.new_tree(&mut runner).unwrap().current();
            let mut wanted = nft_trees::rules(&tree, &facts);
            if !bridges {
                wanted.tables.remove(&TableName::Guests);
            }
            tables += wanted.tables.len();
            let chains = wanted.tables.values().flat_map(|table| table.chains.values());
            rules += chains.map(|chain| chain.rules().len()).sum::<usize>();
            let wanted = Arc::new(wanted);
            let outcome = node.run(|| firewall.update(&wanted));
            assert_eq!(outcome.errors, [""; 0], "{}", shown(&tree));
            if round % 6 == 0 {
                // by a new process
                firewall = Firewall::default();
                assert_eq!(node.run(|| firewall.update(&wanted)), Outcome::default(), "{}", shown(&tree));
            }
        }
    }
    println!("{tables} tables, {rules} rules, tables of guests: {bridges}");
    assert!(rules > 50 * tables && tables >= count, "the trees compile to something: {rules} rules, {tables} tables");
}
