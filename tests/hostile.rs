//! Any bytes in any file: what they compile to is taken by the real restore tools, whole, and settles.
//!
//! Needs root, netfilter, and the tools of `make deps`.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "kernel/host.rs"]
mod host;
#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/netns.rs"]
mod netns;
#[path = "support/trees.rs"]
mod trees;

use host::Host;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use pve_firewall::apply::Variant;
use pve_firewall::compile::compile;

/// How many trees each variant gets, one after the other: each is also a change from another one.
const TREES: usize = 80;

fn every_tree_settles(variant: Variant) {
    let facts = trees::facts();
    let mut runner = TestRunner::deterministic();
    let mut host = Host::new("hostile", variant);
    let mut rules = 0;
    for _ in 0..TREES {
        let tree = hostile::tree().new_tree(&mut runner).unwrap().current();
        let compiled = compile(&tree, &facts);
        rules += compiled.ruleset.filter.v4.values().map(|chain| chain.rules.len()).sum::<usize>();
        host.settle(&compiled.ruleset);
    }
    assert!(rules > 50 * TREES, "the trees compile to something: {rules} rules");
    assert_eq!(host.remove().faults, []);
}

#[test]
fn the_legacy_tools_take_whatever_compiles() {
    every_tree_settles(Variant::Legacy);
}

#[test]
fn the_nft_tools_take_whatever_compiles() {
    every_tree_settles(Variant::Nft);
}
