//! The nftables backend, compared with nft alone on the same rules as plain text.
//!
//! On a kernel that does not track connections in bridges, some expressions of the guests' table are replaced: see [`nft`].
mod daemon;
mod generation;
mod nft;

use crate::bench_node::BenchNode;
use crate::guest::{Guest, read_until_changed};
use crate::netns::Netns;
use crate::table::{Measurement, Table, median};
use daemon::Daemon;
use pve_firewall::model::Direction;
use pve_firewall::nftables::apply::{Firewall, Outcome};
use pve_firewall::nftables::backend::Nftables;
use pve_firewall::nftables::names::{TableName, guest_chain};
use pve_firewall::nftables::ruleset::Ruleset;
use pve_firewall::pmxcfs::Reader;
use pve_firewall::system::netfilter::nft_generation;
use pve_firewall::system::process::processors;
use std::fs;
use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const RUNS: u16 = 5;
/// The number of updates without a change, each of which takes microseconds.
const UNCHANGED_UPDATES: u32 = 1000;
/// Number of measured idle cycles of the daemon, and their interval.
const CYCLES: u32 = 3;
const CYCLE: Duration = Duration::from_secs(10);
/// Time until the daemon is idle after a first update.
const TIME_UNTIL_IDLE: Duration = Duration::from_secs(12);

pub fn measure(sizes: &[usize], table: &mut Table) {
    nft::install();
    let nodes: Vec<BenchNode> = sizes.iter().map(|guests| new_node(*guests)).collect();
    if !nft::supports_guest_rules() {
        eprintln!("this kernel does not track connections in bridges: rules that need it are replaced by others");
    }
    first(&nodes, table);
    idle(&nodes, table);
    change(&nodes, table);
    with_daemons(&nodes, table);
}

/// A node on which host.fw selects this backend.
fn new_node(guests: usize) -> BenchNode {
    let bench_node = BenchNode::new(guests);
    let path = "nodes/n1/host.fw";
    let text = fs::read_to_string(bench_node.node.config().join(path)).expect("host.fw");
    bench_node.node.write(path, &text.replacen("[OPTIONS]\n", "[OPTIONS]\nnftables: 1\n", 1));
    bench_node
}

fn compiled(bench_node: &BenchNode) -> Arc<Ruleset> {
    let (tree, facts) = bench_node.inputs();
    Nftables::new(processors()).compile(&tree, &facts).1
}

fn assert_changed_without_errors(outcome: &Outcome) {
    assert!(outcome.errors.is_empty() && outcome.changed, "{:?}", outcome.errors);
}

/// Rows for two kinds of times, and their ratio.
fn compare(times: &[Vec<Duration>], [ours, bare]: [&str; 2], table: &mut Table) {
    let column = |at: usize| times.iter().map(|times| times[at]).collect::<Vec<_>>();
    table.times(ours, &column(0));
    table.times(bare, &column(1));
    table.ratios(&column(0), &column(1));
}

fn first(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("nftables: first updates ...");
    let times = |bench_node: &BenchNode| {
        let ruleset = compiled(bench_node);
        let text = nft::text(&ruleset);
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            let (netns, mut firewall) = (Netns::new("bench-first"), Firewall::default());
            let began = Instant::now();
            assert_changed_without_errors(&netns.run(|| firewall.update(&ruleset)));
            times[0].push(began.elapsed());
            let began = Instant::now();
            assert_eq!(netns.run(|| firewall.update(&ruleset)), Outcome::default());
            times[2].push(began.elapsed());
            remove_and_wait(netns);
            let netns = Netns::new("bench-bare");
            times[1].push(nft::load(&netns, &text));
            remove_and_wait(netns);
        }
        times.map(median).to_vec()
    };
    let times: Vec<_> = nodes.iter().map(times).collect();
    table.heading(Measurement::Nftables, "nftables: first update", "at most 1.3 of `nft -f` of the same rules");
    compare(&times, ["ours", "`nft -f` of the same rules as plain text"], table);
    table.times("the next update, which reads the rules back", &times.iter().map(|times| times[2]).collect::<Vec<_>>());
}

/// Removes a namespace and waits, as the kernel frees it in the background.
fn remove_and_wait(netns: Netns) {
    drop(netns);
    sleep(Duration::from_millis(500));
}

fn idle(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("nftables: updates without a change ...");
    let times = |bench_node: &BenchNode| {
        let ruleset = compiled(bench_node);
        let (netns, mut firewall) = (Netns::new("bench-idle"), Firewall::default());
        assert_changed_without_errors(&netns.run(|| firewall.update(&ruleset)));
        // reads the rules back
        assert_eq!(netns.run(|| firewall.update(&ruleset)), Outcome::default());
        let before = nft::runs();
        let times = netns.run(|| {
            let mut times = vec![Duration::ZERO; 2];
            for _ in 0..UNCHANGED_UPDATES {
                let began = Instant::now();
                assert_eq!(firewall.update(&ruleset), Outcome::default());
                times[0] += began.elapsed();
                let began = Instant::now();
                nft_generation().expect("the generation");
                times[1] += began.elapsed();
            }
            times
        });
        assert_eq!(nft::runs(), before, "an update without a change runs no program");
        remove_and_wait(netns);
        times
    };
    let times: Vec<_> = nodes.iter().map(times).collect();
    let target = "one request for the generation, no program";
    table.heading(Measurement::Nftables, "nftables: a thousand updates without a change", target);
    compare(&times, ["ours", "a thousand requests for the generation"], table);
}

fn change(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("nftables: changes of a rule ...");
    let times: Vec<Vec<Duration>> = nodes.iter().map(changed).collect();
    let target = "at most 2 of `nft -f` that replaces one chain";
    table.heading(Measurement::Nftables, "nftables: one rule changed, without the delay", target);
    let column = |at: usize| times.iter().map(|times| times[at]).collect::<Vec<_>>();
    table.times("ours, until it is read and compiled", &column(3));
    table.times("ours, until it is in the kernel", &column(2));
    compare(&times, ["ours, until that is verified", "`nft -f` that replaces the rules of that chain"], table);
}

/// From reading the new file until the update has ended, nft alone with the new rules of that chain, and from reading until
/// the rule is in the kernel, and until it is compiled. After a write, the daemon reads only what was written.
fn changed(bench_node: &BenchNode) -> Vec<Duration> {
    let netns = &bench_node.node.netns;
    let guest = Guest::find(bench_node);
    let vmid = guest.file.trim_matches(|char: char| !char.is_ascii_digit()).parse().expect("a VMID");
    let name = guest_chain(vmid, Direction::In);
    let mut backend = Nftables::new(processors());
    let (mut reader, mut facts) = (bench_node.reader(), bench_node.facts());
    let mut tree = reader.settle().expect("a healthy configuration");
    let mut ruleset = backend.compile(&tree, &facts.collect(&tree)).1;
    netns.run(|| assert_changed_without_errors(&backend.maintain(&ruleset)));
    let alone = Netns::new("bench-bare");
    nft::load(&alone, &nft::text(&ruleset));
    netns.run(|| assert_eq!(backend.maintain(&ruleset), Outcome::default()));
    let mut times = [const { Vec::new() }; 4];
    for number in 0..RUNS {
        let before = generation::current(netns);
        guest.add_rule(number);
        let (began, seen) = scope(|threads| {
            let seen = threads.spawn(|| generation::wait_for_change(netns, before));
            let began = read_until_changed(&mut reader, &mut tree, Reader::read_changes);
            ruleset = backend.compile(&tree, &facts.collect(&tree)).1;
            times[3].push(began.elapsed());
            netns.run(|| assert_changed_without_errors(&backend.maintain(&ruleset)));
            times[0].push(began.elapsed());
            (began, seen.join().expect("the rule in the kernel"))
        });
        times[2].push(seen - began);
        let chain = &ruleset.tables[&TableName::Guests].chains[&name];
        times[1].push(nft::load(&alone, &nft::chain_text(&name, chain)));
    }
    netns.exec("nft flush ruleset");
    times.map(median).to_vec()
}

fn with_daemons(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("nftables: idle cycles, changes seen by the daemon ...");
    let daemons: Vec<Daemon<'_>> = nodes.iter().map(Daemon::start).collect();
    sleep(TIME_UNTIL_IDLE);
    let before = nft::runs();
    let cycle = |daemon: &Daemon<'_>| {
        daemon.wait_for_cycle();
        let before = daemon.cpu();
        sleep(CYCLE * CYCLES);
        (daemon.cpu() - before) / CYCLES
    };
    let cycles: Vec<Duration> = scope(|threads| {
        let all: Vec<_> = daemons.iter().map(|daemon| threads.spawn(|| cycle(daemon))).collect();
        all.into_iter().map(|cycle| cycle.join().expect("the cost of a cycle")).collect()
    });
    let runs = nft::runs() - before;
    table.heading(Measurement::Nftables, "nftables: idle cycle of the daemon, CPU time", "no run of nft");
    table.times("a cycle", &cycles);
    table.row("runs of nft by all daemons", daemons.iter().map(|_| runs.to_string()));

    let delays: Vec<Vec<Duration>> = daemons.iter().map(|daemon| delays(daemon.bench_node)).collect();
    table.heading(Measurement::Nftables, "nftables: one rule changed, by a local write", "under 500 ms");
    table.times("median", &delays.iter().cloned().map(median).collect::<Vec<_>>());
    table.times("longest", &delays.iter().filter_map(|delays| delays.iter().max().copied()).collect::<Vec<_>>());

    table.heading(Measurement::Nftables, "nftables: memory, MB", "a peak under 64 with 1,000 guests");
    let row = |value: &str, part: usize| -> Vec<String> {
        daemons.iter().map(|daemon| format!("{:.1}", daemon.memory(value)[part])).collect()
    };
    table.row("the daemon's peak", row("VmHWM:", 0));
    table.row("the daemon idle", row("VmRSS:", 0));
    table.row("the reading process's peak", row("VmHWM:", 1));
}

/// From local writes until the kernel has the rule.
fn delays(bench_node: &BenchNode) -> Vec<Duration> {
    let guest = Guest::find(bench_node);
    let delay = |number| {
        // at a random point of the daemon's polling interval
        sleep(Duration::from_millis(fastrand::u64(1000..2000)));
        let before = generation::current(&bench_node.node.netns);
        let began = guest.add_rule(100 + number);
        generation::wait_for_change(&bench_node.node.netns, before) - began
    };
    (0..RUNS).map(delay).collect()
}
