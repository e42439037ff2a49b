//! One rule of one guest is added: from the write until the kernel has it.
use crate::entries::Entries;
use crate::site::{Site, VARIANT};
use crate::table::{Question, Table, median};
use crate::tools;
use pve_firewall::apply::{Firewall, VariantChoice};
use pve_firewall::compile::compile;
use pve_firewall::inputs::File;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const RUNS: u16 = 5;

/// With the real daemon, which has to notice the write first.
pub fn with_daemon(sites: &[Site], table: &mut Table) {
    eprintln!("changes of a rule, seen by the daemon ...");
    table.heading(
        Question::Change,
        "One rule changed, seen by the daemon",
        "a local write under 500 ms, a remote one under 1,500 ms",
    );
    for (title, write) in [("local write", renamed as fn(&Site, &str, u16) -> Written), ("remote write", unnoticed)] {
        let times: Vec<Vec<Duration>> = sites.iter().map(|site| delays(site, write)).collect();
        let longest = |times: &Vec<Duration>| times.iter().copied().max().unwrap_or_default();
        table.times(&format!("{title}, median"), &times.iter().cloned().map(median).collect::<Vec<_>>());
        table.times(&format!("{title}, longest"), &times.iter().map(longest).collect::<Vec<_>>());
    }
}

/// What the daemon does then, in this process, against a bare save and restore of the table.
pub fn alone(sites: &[Site], table: &mut Table) {
    eprintln!("changes of a rule ...");
    table.heading(
        Question::Change,
        "One rule changed, without the delay",
        "at most 1.3 of a bare save and restore of its table",
    );
    let times: Vec<[Duration; 3]> = sites.iter().map(in_process).collect();
    let column = |at: usize| times.iter().map(|times| times[at]).collect::<Vec<Duration>>();
    table.times("ours, until it is in the kernel", &column(0));
    table.times("ours, until that is verified", &column(1));
    table.times("a bare save and restore", &column(2));
    table.ratios(&column(0), &column(2));
}

/// When a file was written, and what must live until the change is seen.
type Written = (Instant, Option<fs::File>);

fn delays(site: &Site, write: fn(&Site, &str, u16) -> Written) -> Vec<Duration> {
    let (path, entries) = (subject(site), Entries::new(&site.node.netns));
    let delay = |port| {
        // at any moment of the daemon's second
        sleep(Duration::from_millis(fastrand::u64(1000..2000)));
        let before = entries.count();
        let (written, _open) = write(site, &path, port);
        entries.changed(before) - written
    };
    (0..RUNS).map(delay).collect()
}

/// Replaces a file, as PVE does on this node.
fn renamed(site: &Site, path: &str, port: u16) -> Written {
    let text = text(site, path) + &rule(port);
    let written = Instant::now();
    site.node.write(path, &text);
    (written, None)
}

/// Writes a file in place without closing it: as from another node, without an event that inotify is asked for.
fn unnoticed(site: &Site, path: &str, port: u16) -> Written {
    let mut file = OpenOptions::new().append(true).open(site.node.config().join(path)).expect("the guest's file");
    file.write_all(rule(port).as_bytes()).expect("the guest's file");
    (Instant::now(), Some(file))
}

/// A guest's file in which a rule for IPv4 changes the IPv4 table and nothing else.
fn subject(site: &Site) -> String {
    let (tree, facts) = site.inputs();
    let before = compile(&tree, &facts).ruleset;
    let changes_one_table = |path: &String| {
        let mut tree = tree.clone();
        let text = text(site, path) + &rule(1);
        tree.files.insert(path.clone(), File::Content(text.into_bytes().into()));
        let mut after = compile(&tree, &facts).ruleset;
        std::mem::replace(&mut after.filter.v4, before.filter.v4.clone()) != before.filter.v4 && after == before
    };
    let mut paths = (100..100 + site.guests).map(|vmid| format!("firewall/{vmid}.fw"));
    paths.find(changes_one_table).expect("a guest with rules")
}

fn text(site: &Site, path: &str) -> String {
    fs::read_to_string(site.node.config().join(path)).expect("the guest's file")
}

/// `gen.py` ends a guest's file with its rules.
fn rule(port: u16) -> String {
    format!("IN ACCEPT -source 192.0.2.1 -p tcp -dport {}\n", 1 + port)
}

/// From the write to the kernel and to the end of the update, and the time of the bare tools.
fn in_process(site: &Site) -> [Duration; 3] {
    let netns = &site.node.netns;
    let (path, entries) = (subject(site), Entries::new(netns));
    let choice: VariantChoice = VARIANT.parse().expect("a variant");
    let mut firewall = Firewall::new(&site.root(), choice);
    let (mut reader, mut facts) = (site.reader(), site.facts());
    let tree = reader.settle().expect("a healthy configuration");
    let wanted = compile(&tree, &facts.collect(&tree)).ruleset;
    netns.run(|| firewall.update(&wanted));
    let mut times = [const { Vec::new() }; 3];
    for port in 0..RUNS {
        let before = entries.count();
        let (written, _) = renamed(site, &path, port);
        let seen = scope(|threads| {
            let seen = threads.spawn(|| entries.changed(before));
            reader.pass().expect("a healthy configuration");
            let tree = reader.tree();
            let wanted = compile(&tree, &facts.collect(&tree)).ruleset;
            let outcome = netns.run(|| firewall.update(&wanted));
            assert!(outcome.faults.is_empty() && outcome.changed, "{:?}", outcome.faults);
            seen.join().expect("the rule in the kernel")
        });
        times[0].push(seen - written);
        times[1].push(written.elapsed());
        let script = site.node.path("var/lib/pve-firewall/ip4cmdlist");
        let bare = tools::save(netns, "iptables", &["-t", "filter"]) + tools::restore(netns, "iptables", &script);
        times[2].push(bare.wall);
    }
    times.map(median)
}
