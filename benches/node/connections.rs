//! The cost of `preview` and `--cut-connections` with 100,000 tracked connections.
use crate::bench_node::BenchNode;
use crate::entries::Entries;
use crate::guest::Guest;
use crate::process::own_children;
use crate::table::{Measurement, Table, median};
use crate::tools;
use crate::tracked::{Tracked, wait_until_deleted};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

const RUNS: u32 = 5;
const CLUSTER: &str = "firewall/cluster.fw";
/// The first rule of the measured guest, which accepts connections to port 443.
const OPEN: &str = "IN ACCEPT -p tcp -dport 443\n";
/// A rule before it, which refuses some of these connections.
const CLOSED: &str = "IN DROP -source 10.64.0.0/12 -p tcp -dport 443\n";

pub fn measure(nodes: &mut [BenchNode], table: &mut Table) {
    eprintln!("100,000 tracked connections ...");
    let all: Vec<[Duration; 10]> = nodes.iter_mut().map(times).collect();
    let column = |at: usize| all.iter().map(|times| times[at]).collect::<Vec<Duration>>();
    table.heading(Measurement::Connections, "Preview with 100,000 tracked connections", "within 2 s");
    table.times("a bare `conntrack -L`", &column(0));
    table.times("one guest's file", &column(1));
    table.ratios(&column(1), &column(0));
    table.times("`cluster.fw`", &column(2));
    table.ratios(&column(2), &column(0));
    table.times("CPU time of a bare `conntrack -L`", &column(3));
    table.times("CPU time for one guest's file, with the tools that it runs", &column(4));
    table.ratios(&column(4), &column(3));
    table.times("CPU time for `cluster.fw`, with the tools that it runs", &column(5));
    table.ratios(&column(5), &column(3));
    table.heading(
        Measurement::Connections,
        "`--cut-connections` with 100,000 tracked connections",
        "rules live as soon as without; at most 1 s more",
    );
    table.times("without: from the write until the rule is in the kernel", &column(6));
    table.times("with: from the write until the rule is in the kernel", &column(7));
    table.ratios(&column(7), &column(6));
    table.times("from then until one guest's refused connections are deleted", &column(8));
    table.times("from the write of a blacklist until those of all guests are deleted", &column(9));
}

/// The times at one node, in the order of the table.
fn times(bench_node: &mut BenchNode) -> [Duration; 10] {
    let mut times = [const { Vec::new() }; 10];
    let files = Files::prepare(bench_node);
    let tracked = Tracked::fill(bench_node);
    bench_node.start(&[]);
    for _ in 0..RUNS {
        let bare = tools::run(&bench_node.node.netns, "conntrack", &["-L"], None);
        let (guest, cluster) =
            (preview(bench_node, &files.guest, &files.closed), preview(bench_node, CLUSTER, &files.blacklist));
        for (at, took) in [bare.wall, guest.0, cluster.0, bare.cpu, guest.1, cluster.1].into_iter().enumerate() {
            times[at].push(took);
        }
    }
    bench_node.stop();
    // alternately, so that both have the same load
    for _ in 0..RUNS {
        bench_node.start(&[]);
        times[6].push(rule(bench_node, &files.guest, &files.closed).0);
        rule(bench_node, &files.guest, &files.open);
        bench_node.stop();
        bench_node.start(&["--cut-connections"]);
        let netns = &bench_node.node.netns;
        let (took, live) = rule(bench_node, &files.guest, &files.closed);
        times[7].push(took);
        times[8].push(wait_until_deleted(netns) - live);
        rule(bench_node, &files.guest, &files.open);
        tracked.refill(netns);
        let began = Instant::now();
        bench_node.node.write(CLUSTER, &files.blacklist);
        times[9].push(wait_until_deleted(netns) - began);
        bench_node.node.write(CLUSTER, &files.cluster);
        bench_node.wait_for_cycle();
        bench_node.stop();
        tracked.refill(&bench_node.node.netns);
    }
    times.map(median)
}

/// The time and the CPU time of `preview` for another text of a file.
fn preview(bench_node: &BenchNode, path: &str, text: &str) -> (Duration, Duration) {
    let directory = bench_node.node.path("candidates");
    let candidate = directory.join(path.rsplit('/').next().unwrap_or_default());
    fs::create_dir_all(directory).and_then(|()| fs::write(&candidate, text)).expect("a candidate");
    let mut command = bench_node.node.command(&["preview", candidate.to_str().expect("a path")]);
    let (began, cpu) = (Instant::now(), own_children());
    let output = command.output().expect("preview");
    let took = (began.elapsed(), own_children() - cpu);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("would be refused if they started now"), "{output:?}");
    took
}

/// Changes a rule of a file, and returns how long it took until it was in the kernel, and when.
fn rule(bench_node: &BenchNode, path: &str, text: &str) -> (Duration, Instant) {
    // at a random point of the daemon's polling interval, after its last update
    sleep(Duration::from_millis(fastrand::u64(1000..2000)));
    let entries = Entries::new(&bench_node.node.netns);
    let before = entries.count();
    let began = Instant::now();
    bench_node.node.write(path, text);
    let live = entries.wait_for_change(before);
    (live - began, live)
}

/// The texts of the files that are changed.
struct Files {
    cluster: String,
    blacklist: String,
    /// The path of the guest's file.
    guest: String,
    open: String,
    closed: String,
}

impl Files {
    /// Writes the open text of the guest's file.
    fn prepare(bench_node: &BenchNode) -> Self {
        let guest = Guest::find(bench_node).file;
        let read = |path: &str| fs::read_to_string(bench_node.node.config().join(path)).expect("a configuration file");
        let (text, cluster) = (read(&guest), read(CLUSTER));
        let with = |rules: &str| text.replacen("[RULES]\n", &format!("[RULES]\n{rules}"), 1);
        let files = Files {
            blacklist: cluster.replacen("[IPSET blacklist]", "[IPSET blacklist]\n10.64.0.0/12\n#", 1),
            open: with(OPEN),
            closed: with(&format!("{CLOSED}{OPEN}")),
            cluster,
            guest,
        };
        assert!(files.blacklist != files.cluster && files.open != files.closed);
        bench_node.node.write(&files.guest, &files.open);
        files
    }
}
