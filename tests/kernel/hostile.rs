//! Any bytes in any file, and the full range of valid values: the real restore tools accept every compiled ruleset, and a
//! second update has nothing to do.
//!
//! Needs root, netfilter, and the tools of `make deps`.
use crate::host::{Host, VARIANTS};
use crate::hostile_trees;
use crate::ranges;
use crate::rulesets;
use crate::trees;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use pve_firewall::inputs::Tree;
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::compile::compile;
use pve_firewall::iptables::ruleset::{LogPrefix, Ruleset, Target};

/// Number of trees of each kind for each variant, applied one after the other. `PVEFW_TREES=N` sets it, with random seeds;
/// with `PVEFW_SHORT_TESTS` there are a few.
const TREES: usize = 40;
const FEW_TREES: usize = 8;

fn count_and_seed() -> (usize, RngSeed) {
    match std::env::var("PVEFW_TREES") {
        Ok(count) => (count.parse().expect("PVEFW_TREES is a number"), RngSeed::Random),
        Err(_) if std::env::var_os("PVEFW_SHORT_TESTS").is_some() => (FEW_TREES, RngSeed::Fixed(1)),
        Err(_) => (TREES, RngSeed::Fixed(1)),
    }
}

fn rules(ruleset: &Ruleset) -> usize {
    let tables = [&ruleset.filter.v4, &ruleset.filter.v6, &ruleset.raw.v4, &ruleset.raw.v6];
    tables.iter().flat_map(|table| table.values()).map(|chain| chain.rules().len()).sum()
}

/// The content of a tree, for debugging.
fn format_tree(tree: &Tree) -> String {
    let files = tree.files.keys().map(|path| {
        format!("--- {path}\n{}\n", String::from_utf8_lossy(tree.content(path).unwrap_or_default()).escape_debug())
    });
    files.collect()
}

fn apply_every_tree(variant: Variant) {
    let facts = trees::facts();
    let (count, rng_seed) = count_and_seed();
    let mut runner = TestRunner::new(Config { rng_seed, ..Config::default() });
    let mut host = Host::new("hostile", variant);
    let (mut all_rules, mut bridge_rules, mut entries, mut updates) = (0, 0, 0, 0);
    let kinds: [BoxedStrategy<Tree>; 2] = [hostile_trees::tree().boxed(), ranges::tree().boxed()];
    for round in 0..count {
        for kind in &kinds {
            let tree = kind.new_tree(&mut runner).unwrap().current();
            let ruleset = compile(&tree, &facts).ruleset;
            all_rules += rules(&ruleset);
            bridge_rules += ruleset.bridge.values().map(|chain| chain.rules().len()).sum::<usize>();
            entries += ruleset.sets.values().map(|set| set.len()).sum::<usize>();
            updates += 1;
            // the update verifies that all rules are live
            let outcome = host.update(&ruleset);
            assert_eq!(outcome.errors, [], "{}", format_tree(&tree));
            if round % 20 == 0 {
                host.update_and_check(&ruleset);
            }
        }
    }
    println!(
        "{variant}: {updates} configurations, {all_rules} rules, {bridge_rules} of ebtables, {entries} set entries"
    );
    assert!(all_rules > 100 * updates, "the trees compile to something: {all_rules} rules");
    assert_eq!(host.remove().errors, []);
}

#[test]
fn the_legacy_tools_accept_every_compiled_ruleset() {
    apply_every_tree(Variant::Legacy);
}

#[test]
fn the_nft_tools_accept_every_compiled_ruleset() {
    apply_every_tree(Variant::Nft);
}

/// The longest prefix that iptables accepts; compiled prefixes are shorter (`LogPrefix`).
#[test]
fn a_log_prefix_of_63_characters_is_accepted() {
    for variant in VARIANTS {
        let mut host = Host::new("prefix", variant);
        let chain = rulesets::chain("GROUP-group-of-eighteen1-OUT");
        let message = "policy REJECT: xxx: ";
        let prefix = LogPrefix { vmid: 999_999_999, level: 7, chain, message };
        assert_eq!(prefix.to_string().len(), 63);
        let mut wanted = rulesets::node(&[]);
        let log = rulesets::rule(vec![], Target::Nflog(Box::new(prefix.clone())), 1);
        rulesets::put(&mut wanted.filter.v4, "PVEFW-INPUT", vec![log.clone()]);
        rulesets::put(&mut wanted.filter.v6, "PVEFW-INPUT", vec![log]);
        host.update_and_check(&wanted);
        assert!(host.saved("iptables", "-t filter").contains(&prefix.to_string()));
    }
}
