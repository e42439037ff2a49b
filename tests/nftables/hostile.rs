//! Any bytes in any file, and the full range of valid values: nft accepts every compiled ruleset, and a second update has
//! nothing to do.
//!
//! `PVEFW_TREES=N` sets the number of configurations of each kind that are checked, with random seeds.
use crate::netns::Netns;
use crate::{hostile_trees, nft_trees, ranges};
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use pve_firewall::inputs::{Facts, Tree};
use pve_firewall::nftables::apply::{Firewall, Outcome};
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::plan::{LiveCache, diff, script};
use pve_firewall::nftables::ruleset::Ruleset;
use std::fs;
use std::sync::Arc;

/// The default number of checked configurations of each kind; the second with `PVEFW_LONG_TESTS`.
const CHECKED: usize = 150;
const MANY_CHECKED: usize = 2500;
/// The number of updates with configurations of each kind; the second with `PVEFW_SHORT_TESTS`.
const UPDATES: usize = 12;
const FEW_UPDATES: usize = 4;
/// The number of configurations of each kind in one run of nft.
const BATCH: usize = 10;

/// Configurations of all kinds.
struct Trees {
    runner: TestRunner,
    kinds: [BoxedStrategy<Tree>; 2],
}

impl Trees {
    fn new(rng_seed: RngSeed) -> Self {
        let runner = TestRunner::new(Config { rng_seed, ..Config::default() });
        Trees { runner, kinds: [hostile_trees::tree().boxed(), ranges::tree().boxed()] }
    }

    /// One configuration of each kind.
    fn next(&mut self) -> [Tree; 2] {
        self.kinds.each_ref().map(|kind| kind.new_tree(&mut self.runner).unwrap().current())
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

fn format_tree(tree: &Tree) -> String {
    let text = |path| String::from_utf8_lossy(tree.content(path).unwrap_or_default()).escape_debug().to_string();
    tree.files.keys().map(|path| format!("--- {path}\n{}\n", text(path))).collect()
}

/// The script that creates the tables of a ruleset, with a number appended to their names.
fn numbered(ruleset: &Ruleset, number: usize) -> String {
    let mut text = script(&diff(ruleset, &LiveCache::default(), &|_, _| None), ruleset).text;
    for table in TableName::ALL {
        text = text.replace(&format!("{table} "), &format!("{table}-{number} "));
    }
    text
}

/// The errors of a script, which nft and the kernel check without a change; empty if both accept it.
fn check_with_nft(node: &Netns, script: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), script).unwrap();
    let output = node.exec(&format!("nft -c -f {} 2>&1 && echo accepted || echo refused", file.path().display()));
    output.strip_suffix("accepted\n").map_or_else(|| output.clone(), str::to_string)
}

/// The number of checked tables, and of guests' tables among them.
#[derive(Debug, Default)]
struct Count {
    configurations: usize,
    tables: usize,
    tables_of_guests: usize,
    rules: usize,
}

impl Count {
    fn add(&mut self, ruleset: &Ruleset) {
        self.configurations += 1;
        self.tables += ruleset.tables.len();
        self.tables_of_guests += usize::from(ruleset.tables.contains_key(&TableName::Guests));
        let chains = ruleset.tables.values().flat_map(|table| table.chains.values());
        self.rules += chains.map(|chain| chain.rules().len()).sum::<usize>();
    }
}

fn compiled(tree: &Tree, facts: &Facts, bridges: bool) -> Ruleset {
    let mut ruleset = nft_trees::rules(tree, facts);
    if !bridges {
        ruleset.tables.remove(&TableName::Guests);
    }
    ruleset
}

#[test]
fn nft_accepts_every_compiled_ruleset() {
    let facts = nft_trees::facts();
    let (count, seed) = match std::env::var("PVEFW_TREES") {
        Ok(count) => (count.parse().expect("PVEFW_TREES is a number"), RngSeed::Random),
        Err(_) if is_set("PVEFW_LONG_TESTS") => (MANY_CHECKED, RngSeed::Random),
        Err(_) => (CHECKED, RngSeed::Fixed(2)),
    };
    let mut trees = Trees::new(seed);
    let node = Netns::new("nft-hostile");
    let bridges = nft_trees::supports_guest_rules(&node);
    let mut checked = Count::default();
    for first in (0..count).step_by(BATCH) {
        let batch: Vec<(Tree, String)> = (first..count.min(first + BATCH))
            .flat_map(|_| trees.next())
            .enumerate()
            .map(|(number, tree)| {
                let ruleset = compiled(&tree, &facts, bridges);
                checked.add(&ruleset);
                let text = numbered(&ruleset, number);
                (tree, text)
            })
            .collect();
        let all: String = batch.iter().map(|(_, text)| text.as_str()).collect();
        let output = check_with_nft(&node, &all);
        if !output.is_empty() {
            let each = batch.iter().map(|(tree, text)| (check_with_nft(&node, text), tree));
            let refused =
                each.filter(|(output, _)| !output.is_empty()).map(|(output, tree)| output + &format_tree(tree));
            panic!("{output}\nalone:\n{}", refused.collect::<String>());
        }
    }
    println!("{checked:?}");
    let Count { configurations, tables, tables_of_guests, rules } = checked;
    assert!(rules > 50 * tables && tables >= count && configurations == 2 * count, "{rules} rules, {tables} tables");
    assert_eq!(tables_of_guests > count / 2, bridges, "{tables_of_guests} tables of guests");
}

#[test]
fn a_second_update_with_any_ruleset_has_nothing_to_do() {
    let facts = nft_trees::facts();
    let mut trees = Trees::new(RngSeed::Fixed(1));
    let node = Netns::new("nft-hostile");
    let bridges = nft_trees::supports_guest_rules(&node);
    let mut firewall = Firewall::default();
    for round in 0..if is_set("PVEFW_SHORT_TESTS") { FEW_UPDATES } else { UPDATES } {
        for tree in trees.next() {
            let wanted = Arc::new(compiled(&tree, &facts, bridges));
            let outcome = node.run(|| firewall.update(&wanted));
            assert_eq!(outcome.errors, [""; 0], "{}", format_tree(&tree));
            if round % 6 == 0 {
                // by a new process
                firewall = Firewall::default();
                assert_eq!(node.run(|| firewall.update(&wanted)), Outcome::default(), "{}", format_tree(&tree));
            }
        }
    }
}
