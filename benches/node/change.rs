//! Adding a rule to a guest: the time from the write until the rule is in the kernel.
use crate::entries::Entries;
use crate::guest::{Guest, accepted};
use crate::site::{self, Site, VARIANT};
use crate::table::{Measurement, Table, median};
use crate::tools;
use pve_firewall::iptables::apply::{Firewall, VariantChoice};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const RUNS: u16 = 5;

/// With the real daemon, including the detection of a local write to a plain directory.
pub fn with_daemon(sites: &[Site], table: &mut Table) {
    eprintln!("changes of a rule, seen by the daemon ...");
    let delays = sites.iter().map(|site| delays(site, |guest, number| guest.add_rule(number))).collect();
    report(delays, "One rule changed, by a local write that the daemon sees", "under 500 ms", table);
}

/// The same for a write by another node on a cluster file system: the daemon gets no event and has to poll.
pub fn on_cluster_file_system(sites: &mut [Site], table: &mut Table) {
    eprintln!("changes of a rule on another node ...");
    let on_fuse = |site: &mut Site| {
        let fuse = site.mount();
        site.start(&[]);
        let delays = delays(site, |guest, number| {
            let text = guest.with_rule(number);
            let began = Instant::now();
            fuse.change(|state| drop(state.files.insert(guest.file.clone(), text.into_bytes())));
            began
        });
        site.stop();
        delays
    };
    let delays = sites.iter_mut().map(on_fuse).collect();
    report(delays, "One rule changed, by another node's write that the daemon looks for", "under 1,500 ms", table);
}

fn report(delays: Vec<Vec<Duration>>, title: &str, target: &str, table: &mut Table) {
    let longest = |delays: &Vec<Duration>| delays.iter().copied().max().unwrap_or_default();
    table.heading(Measurement::Change, title, target);
    table.times("median", &delays.iter().cloned().map(median).collect::<Vec<_>>());
    table.times("longest", &delays.iter().map(longest).collect::<Vec<_>>());
}

/// The daemon's work without the delay, in this process, compared with a save and restore of the table.
pub fn alone(sites: &[Site], table: &mut Table) {
    eprintln!("changes of a rule ...");
    table.heading(
        Measurement::Change,
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

/// The times from each write until the rule is in the kernel. `write` adds a rule and returns the time before the write.
fn delays(site: &Site, write: impl Fn(&Guest<'_>, u16) -> Instant) -> Vec<Duration> {
    let (guest, entries) = (Guest::of(site), Entries::new(&site.node.netns));
    let delay = |number| {
        // at a random point of the daemon's polling interval
        sleep(Duration::from_millis(fastrand::u64(1000..2000)));
        let before = entries.count();
        let began = write(&guest, number);
        entries.changed(before) - began
    };
    (0..RUNS).map(delay).collect()
}

/// From reading the new file until the rule is in the kernel, and until the end of the update; and the time of the tools
/// alone.
fn in_process(site: &Site) -> [Duration; 3] {
    let netns = &site.node.netns;
    let (guest, entries) = (Guest::of(site), Entries::new(netns));
    let choice: VariantChoice = VARIANT.parse().expect("a variant");
    let mut firewall = Firewall::new(&site.root(), choice);
    let (mut reader, mut facts, mut compiler) = (site.reader(), site.facts(), site::compiler());
    let mut tree = reader.settle().expect("a healthy configuration");
    let wanted = compiler.compile(&tree, &facts.collect(&tree)).ruleset;
    netns.run(|| firewall.update(&wanted));
    let mut times = [const { Vec::new() }; 3];
    for number in 0..RUNS {
        let before = entries.count();
        guest.add_rule(number);
        let (began, seen) = scope(|threads| {
            let seen = threads.spawn(|| entries.changed(before));
            let began = accepted(&mut reader, &mut tree);
            let wanted = compiler.compile(&tree, &facts.collect(&tree)).ruleset;
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
