//! One rule of one guest is added: from the write until the kernel has it.
use crate::entries::Entries;
use crate::site::{Site, VARIANT};
use crate::table::{Question, Table, median};
use crate::tools;
use pve_firewall::apply::{Firewall, VariantChoice};
use pve_firewall::compile::compile;
use pve_firewall::inputs::{File, Tree};
use pve_firewall::reader::Reader;
use std::fs;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const RUNS: u16 = 5;

/// With the real daemon, which has to notice the write first: a local one on a plain directory.
pub fn with_daemon(sites: &[Site], table: &mut Table) {
    eprintln!("changes of a rule, seen by the daemon ...");
    let delays = sites.iter().map(|site| delays(site, renamed)).collect();
    tell(delays, "One rule changed, by a local write that the daemon sees", "under 500 ms", table);
}

/// The same on a cluster file system that another node writes to: no event tells of it, and the daemon has to look.
pub fn on_cluster_file_system(sites: &mut [Site], table: &mut Table) {
    eprintln!("changes of a rule on another node ...");
    let on_fuse = |site: &mut Site| {
        let fuse = site.mount();
        site.start(&[]);
        let delays = delays(site, |site, path, port| {
            let text = text(site, path) + &rule(port);
            let written = Instant::now();
            fuse.change(|state| drop(state.files.insert(path.into(), text.into_bytes())));
            written
        });
        site.stop();
        delays
    };
    let delays = sites.iter_mut().map(on_fuse).collect();
    tell(delays, "One rule changed, by another node's write that the daemon looks for", "under 1,500 ms", table);
}

fn tell(delays: Vec<Vec<Duration>>, title: &str, target: &str, table: &mut Table) {
    let longest = |delays: &Vec<Duration>| delays.iter().copied().max().unwrap_or_default();
    table.heading(Question::Change, title, target);
    table.times("median", &delays.iter().cloned().map(median).collect::<Vec<_>>());
    table.times("longest", &delays.iter().map(longest).collect::<Vec<_>>());
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

/// From writes until the kernel has the rule. `write` adds a rule for a port to a file, and returns when that was done.
fn delays(site: &Site, write: impl Fn(&Site, &str, u16) -> Instant) -> Vec<Duration> {
    let (path, entries) = (subject(site), Entries::new(&site.node.netns));
    let delay = |port| {
        // at any moment of the daemon's second
        sleep(Duration::from_millis(fastrand::u64(1000..2000)));
        let before = entries.count();
        let written = write(site, &path, port);
        entries.changed(before) - written
    };
    (0..RUNS).map(delay).collect()
}

/// Replaces a file, as PVE does on this node.
fn renamed(site: &Site, path: &str, port: u16) -> Instant {
    let text = text(site, path) + &rule(port);
    let written = Instant::now();
    site.node.write(path, &text);
    written
}

/// A guest's file in which a rule for IPv4 changes the IPv4 table and nothing else.
fn subject(site: &Site) -> String {
    let (tree, facts) = site.inputs();
    let before = compile(&tree, &facts).ruleset;
    let changes_one_table = |path: &String| {
        let mut tree = tree.clone();
        let text = text(site, path) + &rule(1);
        tree.files.insert(path.clone(), File::Content(text.into_bytes().into()));
        let after = compile(&tree, &facts).ruleset;
        let others_as_before = after.filter.v6 == before.filter.v6 && after.raw == before.raw;
        after.filter.v4 != before.filter.v4 && others_as_before && after.sets == before.sets
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

/// From the pass over the files that shows the new one to the kernel, and to the end of the update; and the time of the
/// bare tools.
fn in_process(site: &Site) -> [Duration; 3] {
    let netns = &site.node.netns;
    let (path, entries) = (subject(site), Entries::new(netns));
    let choice: VariantChoice = VARIANT.parse().expect("a variant");
    let mut firewall = Firewall::new(&site.root(), choice);
    let (mut reader, mut facts) = (site.reader(), site.facts());
    let mut tree = reader.settle().expect("a healthy configuration");
    let wanted = compile(&tree, &facts.collect(&tree)).ruleset;
    netns.run(|| firewall.update(&wanted));
    let mut times = [const { Vec::new() }; 3];
    for port in 0..RUNS {
        let before = entries.count();
        renamed(site, &path, port);
        let (began, seen) = scope(|threads| {
            let seen = threads.spawn(|| entries.changed(before));
            let began = believed(&mut reader, &mut tree);
            let wanted = compile(&tree, &facts.collect(&tree)).ruleset;
            let outcome = netns.run(|| firewall.update(&wanted));
            assert!(outcome.faults.is_empty() && outcome.changed, "{:?}", outcome.faults);
            (began, seen.join().expect("the rule in the kernel"))
        });
        times[0].push(seen - began);
        times[1].push(began.elapsed());
        let script = site.node.path("var/lib/pve-firewall/ip4cmdlist");
        let bare = tools::save(netns, "iptables", &["-t", "filter"]) + tools::restore(netns, "iptables", &script);
        times[2].push(bare.wall);
    }
    times.map(median)
}

/// Makes passes until the tree is another one, and returns when the last of them began: before it, a file that was just
/// written was not believed.
fn believed(reader: &mut Reader, tree: &mut Tree) -> Instant {
    loop {
        let began = Instant::now();
        reader.pass().expect("a healthy configuration");
        let now = reader.tree();
        if now != *tree {
            *tree = now;
            return began;
        }
        sleep(Duration::from_millis(10));
    }
}
