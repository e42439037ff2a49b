//! What `preview` and `--cut-connections` cost with 100,000 tracked connections.
use crate::entries::Entries;
use crate::guest::Guest;
use crate::site::Site;
use crate::table::{Measurement, Table, median};
use crate::tools;
use crate::tracked::{Tracked, deleted};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

const RUNS: u32 = 5;
const CLUSTER: &str = "firewall/cluster.fw";
/// A rule before the others of the measured guest, which accepts its connections to port 443.
const OPEN: &str = "IN ACCEPT -p tcp -dport 443\n";
/// One before that, which refuses a part of them.
const CLOSED: &str = "IN DROP -source 10.64.0.0/12 -p tcp -dport 443\n";

pub fn measure(sites: &mut [Site], table: &mut Table) {
    eprintln!("100,000 tracked connections ...");
    let all: Vec<[Duration; 7]> = sites.iter_mut().map(times).collect();
    let column = |at: usize| all.iter().map(|times| times[at]).collect::<Vec<Duration>>();
    table.heading(Measurement::Connections, "Preview with 100,000 tracked connections", "within 2 s");
    table.times("a bare `conntrack -L`", &column(0));
    table.times("one guest's file", &column(1));
    table.ratios(&column(1), &column(0));
    table.times("`cluster.fw`", &column(2));
    table.ratios(&column(2), &column(0));
    table.heading(
        Measurement::Connections,
        "`--cut-connections` with 100,000 tracked connections",
        "rules live as soon as without; at most 1 s more",
    );
    table.times("without: from the write until the rule is in the kernel", &column(3));
    table.times("with: from the write until the rule is in the kernel", &column(4));
    table.ratios(&column(4), &column(3));
    table.times("from then until one guest's refused connections are deleted", &column(5));
    table.times("from the write of a blacklist until those of all guests are deleted", &column(6));
}

/// The times at one node, in the order of the table.
fn times(site: &mut Site) -> [Duration; 7] {
    let mut times = [const { Vec::new() }; 7];
    let files = Files::of(site);
    let tracked = Tracked::fill(site);
    site.start(&[]);
    for _ in 0..RUNS {
        times[0].push(tools::run(&site.node.netns, "conntrack", &["-L"], None).wall);
        times[1].push(preview(site, &files.guest, &files.closed));
        times[2].push(preview(site, CLUSTER, &files.blacklist));
    }
    for _ in 0..RUNS {
        times[3].push(rule(site, &files.guest, &files.closed).0);
        rule(site, &files.guest, &files.open);
    }
    site.stop();
    site.start(&["--cut-connections"]);
    let netns = &site.node.netns;
    for _ in 0..RUNS {
        let (took, live) = rule(site, &files.guest, &files.closed);
        times[4].push(took);
        times[5].push(deleted(netns) - live);
        rule(site, &files.guest, &files.open);
        tracked.refill(netns);
        let began = Instant::now();
        site.node.write(CLUSTER, &files.blacklist);
        times[6].push(deleted(netns) - began);
        site.node.write(CLUSTER, &files.cluster);
        site.await_cycle();
        tracked.refill(netns);
    }
    site.stop();
    times.map(median)
}

/// The time of `preview` for another text of a file.
fn preview(site: &Site, path: &str, text: &str) -> Duration {
    let folder = site.node.path("candidates");
    let candidate = folder.join(path.rsplit('/').next().unwrap_or_default());
    fs::create_dir_all(folder).and_then(|()| fs::write(&candidate, text)).expect("a candidate");
    let mut command = site.node.command(&["preview", candidate.to_str().expect("a path")]);
    let began = Instant::now();
    let output = command.output().expect("preview");
    let took = began.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("would be refused if they started now"), "{output:?}");
    took
}

/// Changes a rule of a file, and returns how long it took until it was in the kernel, and when.
fn rule(site: &Site, path: &str, text: &str) -> (Duration, Instant) {
    // at a random point of the daemon's polling interval, after its last update
    sleep(Duration::from_millis(fastrand::u64(1000..2000)));
    let entries = Entries::new(&site.node.netns);
    let before = entries.count();
    let began = Instant::now();
    site.node.write(path, text);
    let live = entries.changed(before);
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
    fn of(site: &Site) -> Self {
        let guest = Guest::of(site).file;
        let read = |path: &str| fs::read_to_string(site.node.config().join(path)).expect("a configuration file");
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
        site.node.write(&files.guest, &files.open);
        files
    }
}
