//! Adding a rule to a guest: the time from the write until the rule is in the kernel.
use crate::bench_node::{self, BenchNode, VARIANT};
use crate::entries::Entries;
use crate::fuse::Fuse;
use crate::guest::{Guest, read_until_changed};
use crate::table::{Measurement, Table, median};
use crate::tools;
use pve_firewall::iptables::apply::{Firewall, VariantChoice};
use pve_firewall::pmxcfs::Reader;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const RUNS: u16 = 5;
/// The number of runs of measurements in which the longest has a limit.
const REMOTE_RUNS: u16 = 50;

/// With the real daemon, including the detection of a local write to a plain directory.
pub fn with_daemon(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("changes of a rule, seen by the daemon ...");
    let delays =
        nodes.iter().map(|bench_node| delays(bench_node, RUNS, |guest, number| guest.add_rule(number))).collect();
    report(delays, "One rule changed, by a local write that inotify reports", "under 500 ms", table);
}

/// The same on a file system like pmxcfs to which another node writes: only its log shows the writes.
pub fn on_cluster_file_system(nodes: &mut [BenchNode], table: &mut Table) {
    eprintln!("changes of a rule on another node, and guests that arrive ...");
    let on_fuse = |bench_node: &mut BenchNode| {
        bench_node.mount();
        bench_node.start(&[]);
        let fuse = bench_node.fuse.as_ref().expect("a mounted file system");
        let renamed =
            delays(bench_node, REMOTE_RUNS, |guest, number| write_on_another_node(fuse, guest, number, false));
        let in_place =
            delays(bench_node, REMOTE_RUNS, |guest, number| write_on_another_node(fuse, guest, number, true));
        let arrived = arrivals(bench_node, fuse);
        bench_node.stop();
        bench_node.unmount();
        [renamed, in_place, arrived]
    };
    let all: Vec<[Vec<Duration>; 3]> = nodes.iter_mut().map(on_fuse).collect();
    let column = |at: usize| all.iter().map(|delays| delays[at].clone()).collect();
    let target = "median of 50 at most 0.15 s, longest 0.5 s";
    report(column(0), "One rule changed, by another node's write (a new file renamed into its place)", target, table);
    report(column(1), "One rule changed, by another node's write in place", target, table);
    report(column(2), "A guest arrives by migration", "within 150 ms of the move of its file", table);
}

/// Adds a rule as another node does, and returns the time before the write.
fn write_on_another_node(fuse: &Fuse, guest: &Guest<'_>, number: u16, in_place: bool) -> Instant {
    let text = guest.with_rule(number);
    let began = Instant::now();
    fuse.change(|state| match in_place {
        true => state.put(&guest.file, &text),
        false => state.replace(&guest.file, &text),
    });
    began
}

/// From the move of a guest's file to this node until the kernel has its rules.
fn arrivals(bench_node: &BenchNode, fuse: &Fuse) -> Vec<Duration> {
    const GUEST: u32 = 99_999;
    let [here, away] = ["n1", "n2"].map(|node| format!("nodes/{node}/qemu-server/{GUEST}.conf"));
    let list = std::fs::read_to_string(bench_node.node.config().join(".vmlist")).expect("the list of guests");
    let list = |node: &str| {
        let mut list: serde_json::Value = serde_json::from_str(&list).expect("a list of guests");
        list["ids"][GUEST.to_string()] = serde_json::json!({ "node": node, "type": "qemu", "version": 1 });
        list.to_string()
    };
    fuse.change(|state| {
        state.put(&away, "net0: virtio=02:00:00:99:99:99,bridge=vmbr0,firewall=1\n");
        state.put(&format!("firewall/{GUEST}.fw"), "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -p tcp -dport 22\n");
        state.put(".vmlist", &list("n2"));
    });
    sleep(Duration::from_secs(3));
    let entries = Entries::new(&bench_node.node.netns);
    let arrival = |_| {
        let before = entries.count();
        let began = Instant::now();
        fuse.change(|state| state.migrate(&away, &here, &list("n1")));
        let delay = entries.wait_for_change(before) - began;
        sleep(Duration::from_secs(3));
        let before = entries.count();
        fuse.change(|state| state.migrate(&here, &away, &list("n2")));
        entries.wait_for_change(before);
        sleep(Duration::from_secs(3));
        delay
    };
    (0..RUNS).map(arrival).collect()
}

fn report(delays: Vec<Vec<Duration>>, title: &str, target: &str, table: &mut Table) {
    let longest = |delays: &Vec<Duration>| delays.iter().copied().max().unwrap_or_default();
    table.heading(Measurement::Change, title, target);
    table.times("median", &delays.iter().cloned().map(median).collect::<Vec<_>>());
    table.times("longest", &delays.iter().map(longest).collect::<Vec<_>>());
}

/// The daemon's work without the delay, in this process, compared with a save and restore of the table.
pub fn without_daemon(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("changes of a rule ...");
    table.heading(
        Measurement::Change,
        "One rule changed, without the delay",
        "at most 1.3 of a bare save and restore of its table",
    );
    let times: Vec<[Duration; 3]> = nodes.iter().map(in_process).collect();
    let column = |at: usize| times.iter().map(|times| times[at]).collect::<Vec<Duration>>();
    table.times("ours, until it is in the kernel", &column(0));
    table.times("ours, until that is verified", &column(1));
    table.times("a bare save and restore", &column(2));
    table.ratios(&column(0), &column(2));
}

/// From writes until the kernel has the rule. `write` adds the rule of a number, and returns the time before the write.
fn delays(bench_node: &BenchNode, runs: u16, write: impl Fn(&Guest<'_>, u16) -> Instant) -> Vec<Duration> {
    let (guest, entries) = (Guest::find(bench_node), Entries::new(&bench_node.node.netns));
    let delay = |number| {
        // at a random point of the daemon's polling interval
        sleep(Duration::from_millis(fastrand::u64(1000..2000)));
        let before = entries.count();
        let began = write(&guest, number);
        entries.wait_for_change(before) - began
    };
    (0..runs).map(delay).collect()
}

/// From reading the new file until the rule is in the kernel, and until the end of the update; and the time of the tools
/// alone.
fn in_process(bench_node: &BenchNode) -> [Duration; 3] {
    let netns = &bench_node.node.netns;
    let (guest, entries) = (Guest::find(bench_node), Entries::new(netns));
    let choice: VariantChoice = VARIANT.parse().expect("a variant");
    let mut firewall = Firewall::new(&bench_node.root(), choice);
    let (mut reader, mut facts, mut compiler) = (bench_node.reader(), bench_node.facts(), bench_node::compiler());
    let mut tree = reader.settle().expect("a healthy configuration");
    let wanted = compiler.compile(&tree, &facts.collect(&tree)).ruleset;
    netns.run(|| firewall.update(&wanted));
    let mut times = [const { Vec::new() }; 3];
    for number in 0..RUNS {
        let before = entries.count();
        guest.add_rule(number);
        let (began, seen) = scope(|threads| {
            let seen = threads.spawn(|| entries.wait_for_change(before));
            let began = read_until_changed(&mut reader, &mut tree, Reader::read);
            let wanted = compiler.compile(&tree, &facts.collect(&tree)).ruleset;
            let outcome = netns.run(|| firewall.update(&wanted));
            assert!(outcome.errors.is_empty() && outcome.changed, "{:?}", outcome.errors);
            (began, seen.join().expect("the rule in the kernel"))
        });
        times[0].push(seen - began);
        times[1].push(began.elapsed());
        let script = bench_node.node.path("var/lib/pve-firewall/ip4cmdlist");
        let bare = tools::save(netns, "iptables", &["-t", "filter"]) + tools::restore(netns, "iptables", &script);
        times[2].push(bare.wall);
    }
    times.map(median)
}
