//! The separate stages of an update: parse, compile, render, read live rules, plan. Root is not needed.
//!
//! `cargo bench --bench stages -- compile` runs the stages whose name contains the word.
#![allow(clippy::disallowed_methods, reason = "a bench does I/O")]
#[path = "../tests/support/generated.rs"]
mod generated;
#[path = "../tests/support/trees.rs"]
mod trees;
#[path = "../tests/support/wait.rs"]
mod wait;

use divan::Bencher;
use pve_firewall::config::{Alias, Cluster, Parser};
use pve_firewall::inputs::Tree;
use pve_firewall::iptables::compile::{Compiled, Compiler, compile};
use pve_firewall::iptables::plan::{LiveTable, TableName, TablePlan, read_table, table_script};
use pve_firewall::iptables::ruleset::{Family, Spelled};
use pve_firewall::node::name_databases::Databases;
use pve_firewall::system::process::processors;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// The numbers of guests.
const GUESTS: [usize; 3] = [10, 100, 1000];

fn main() {
    divan::main();
}

/// The input of the stages.
struct Input {
    tree: Tree,
    compiled: Compiled,
    /// The output of `iptables-save` and `ip6tables-save` when the rules are live.
    saved: [String; 2],
}

fn input(guests: usize) -> &'static Input {
    static INPUTS: LazyLock<[Input; 3]> = LazyLock::new(|| GUESTS.map(Input::new));
    let at = GUESTS.iter().position(|known| *known == guests).expect("a number of guests");
    &INPUTS[at]
}

impl Input {
    fn new(guests: usize) -> Self {
        let tree = generated::tree(guests);
        let compiled = compile(&tree, &trees::facts());
        let saved = Family::ALL.map(|family| {
            let script = script(&compiled, family, &LiveTable::default());
            // a save prints the lines of the restore script, except those that flush chains
            script.lines().filter(|line| !line.starts_with("-F ")).flat_map(saved_lines).collect()
        });
        Input { tree, compiled, saved }
    }

    fn live(&self) -> [LiveTable; 2] {
        [0, 1].map(|at| read_table(&self.saved[at], TableName::Filter).expect("a whole table"))
    }
}

/// The lines that a save prints for a line of a script: one for each pair of addresses in its lists.
fn saved_lines(line: &str) -> Vec<String> {
    let expand = |lines: Vec<String>, option: &str| {
        let expanded = lines.into_iter().flat_map(|line| match line.split_once(option) {
            Some((before, rest)) => {
                let (list, after) = rest.split_once(' ').unwrap_or((rest, ""));
                list.split(',').map(|address| format!("{before}{option}{address} {after}")).collect()
            }
            None => vec![line],
        });
        expanded.collect()
    };
    let lines = [" -s ", " -d "].into_iter().fold(vec![line.to_string()], expand);
    lines.into_iter().map(|line| line + "\n").collect()
}

fn plan(compiled: &Compiled, family: Family, live: &LiveTable) -> TablePlan {
    TablePlan::new(&compiled.ruleset.filter[family], live, TableName::Filter, &BTreeSet::new())
}

fn script(compiled: &Compiled, family: Family, live: &LiveTable) -> String {
    table_script(&plan(compiled, family, live), &compiled.ruleset.filter[family], TableName::Filter).text
}

/// Parses all compiled `.fw` files.
#[divan::bench(args = GUESTS)]
fn parse(bencher: Bencher<'_, '_>, guests: usize) {
    let (input, facts) = (input(guests), trees::facts());
    let databases = Databases::parse(&facts.protocols, &facts.services, &facts.ethertypes);
    bencher.bench(|| parsed(&input.tree, Parser { databases: &databases, sdn: &BTreeSet::new() }));
}

fn parsed(tree: &Tree, parser: Parser<'_>) -> (Cluster, usize) {
    let mut reports = Vec::new();
    let network: Alias = Spelled::new("127.0.0.0/8", "127.0.0.0/8".parse().expect("a network")).expect("a word");
    let content = |path: &str| tree.content(path).unwrap_or_default();
    let cluster = parser.cluster(content("firewall/cluster.fw"), &tree.label("cluster.fw"), &network, &mut reports);
    let mut rules = 0;
    for path in tree.files.keys().filter(|path| path.starts_with("firewall/") && !path.ends_with("cluster.fw")) {
        let file: Arc<str> = tree.label(path);
        rules += parser.guest(content(path), &file, false, &cluster, &mut reports).rules.len();
    }
    (cluster, rules)
}

/// A compiler configured as in the daemon.
fn compiler() -> Compiler {
    Compiler::new(processors())
}

/// Compiles the tree with empty caches.
#[divan::bench(args = GUESTS)]
fn compile_all(bencher: Bencher<'_, '_>, guests: usize) {
    let (input, facts) = (input(guests), trees::facts());
    bencher.bench(|| {
        let mut compiler = compiler();
        let compiled = compiler.compile(&input.tree, &facts);
        // the daemon keeps its compiler, so dropping it is not part of the stage
        (compiler, compiled)
    });
}

/// Compiles after a change of one guest's file.
#[divan::bench(args = GUESTS)]
fn compile_one(bencher: Bencher<'_, '_>, guests: usize) {
    let (input, facts) = (input(guests), trees::facts());
    let trees = [1, 2].map(|port| generated::with_rule(&input.tree, port));
    let (mut compiler, mut turn) = (compiler(), 0);
    compiler.compile(&input.tree, &facts);
    bencher.bench_local(|| {
        turn = 1 - turn;
        compiler.compile(&trees[turn], &facts)
    });
}

/// Compiles without a change.
#[divan::bench(args = GUESTS)]
fn compile_nothing(bencher: Bencher<'_, '_>, guests: usize) {
    let (input, facts) = (input(guests), trees::facts());
    let mut compiler = compiler();
    compiler.compile(&input.tree, &facts);
    bencher.bench_local(|| compiler.compile(&input.tree, &facts));
}

/// Renders the scripts for both `filter` tables of a node without rules.
#[divan::bench(args = GUESTS)]
fn render(bencher: Bencher<'_, '_>, guests: usize) {
    let (input, nothing) = (input(guests), LiveTable::default());
    bencher.bench(|| Family::ALL.map(|family| script(&input.compiled, family, &nothing)));
}

/// Parses the output of the save tools.
#[divan::bench(args = GUESTS)]
fn read_live(bencher: Bencher<'_, '_>, guests: usize) {
    let input = input(guests);
    bencher.bench(|| input.live());
}

/// Plans an update when the live rules are up to date.
#[divan::bench(args = GUESTS, name = "plan")]
fn plan_without_changes(bencher: Bencher<'_, '_>, guests: usize) {
    let input = input(guests);
    let [v4, v6] = input.live();
    let plans = || [plan(&input.compiled, Family::V4, &v4), plan(&input.compiled, Family::V6, &v6)];
    assert!(plans().iter().all(TablePlan::is_empty), "the plan is empty");
    bencher.bench(plans);
}
