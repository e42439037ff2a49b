//! Reading and compiling as in the daemon, compared with saves of the compiled rules.
use crate::bench_node::{self, BenchNode};
use crate::guest::{Guest, read_until_changed};
use crate::table::{Measurement, Table, median, milliseconds};
use crate::tools;
use pve_firewall::inputs::Tree;
use pve_firewall::pmxcfs::Reader;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

const RUNS: u16 = 15;
/// The number of guests up to which the cost must be linear.
const LARGE: usize = 5000;

/// The times of reading and of compiling on one node.
#[derive(Default)]
struct Times {
    /// With empty caches.
    everything: [Vec<Duration>; 2],
    /// After a rule was added to one guest.
    one_file: [Vec<Duration>; 2],
    /// Without a change.
    nothing: [Vec<Duration>; 2],
    saves: Vec<Duration>,
}

pub fn measure(nodes: &[BenchNode], table: &mut Table) {
    eprintln!("reading and compiling ...");
    table.heading(Measurement::Read, "Read and compile", "at most 0.2 of `iptables-save` and `ip6tables-save`");
    let times: Vec<Times> = nodes.iter().map(|bench_node| run(bench_node, true)).collect();
    let saves: Vec<Duration> = times.iter().map(|times| median(times.saves.clone())).collect();
    table.times("two bare saves", &saves);
    for (title, of) in [
        ("everything", (|times| &times.everything) as fn(&Times) -> &[Vec<Duration>; 2]),
        ("one guest's file has changed", |times| &times.one_file),
        ("nothing has changed", |times| &times.nothing),
    ] {
        let parts = |at: usize| times.iter().map(|times| median(of(times)[at].clone())).collect::<Vec<_>>();
        let (read, compile) = (parts(0), parts(1));
        table.times(&format!("{title}: read"), &read);
        table.times(&format!("{title}: compile"), &compile);
        let both: Vec<Duration> = read.iter().zip(&compile).map(|(read, compile)| *read + *compile).collect();
        table.ratios(&both, &saves);
    }
    let per_thousand = |times: &Times, guests: usize| {
        let both: Duration = times.everything.iter().map(|times| median(times.clone())).sum();
        milliseconds(both * 1000 / u32::try_from(guests).expect("a number of guests"))
    };
    let large = BenchNode::new(LARGE);
    let large = per_thousand(&run(&large, false), LARGE);
    let title = format!("everything, per 1,000 guests ({large} with {LARGE} guests), ms");
    table.row(&title, nodes.iter().zip(&times).map(|(bench_node, times)| per_thousand(times, bench_node.guests)));
}

fn run(bench_node: &BenchNode, live: bool) -> Times {
    // a single read accepts only files that were not modified recently
    sleep(Duration::from_secs(4));
    let (mut facts, guest) = (bench_node.facts(), Guest::find(bench_node));
    let mut times = Times::default();
    let (mut reader, mut compiler) = (bench_node.reader(), bench_node::compiler());
    let mut tree = reader.settle().expect("a healthy configuration");
    compiler.compile(&tree, &facts.collect(&tree));
    for number in 0..RUNS {
        let mut fresh = bench_node.reader();
        let (read, known) = timed(|| fresh.read().map(|()| fresh.tree()).expect("a healthy configuration"));
        // kept during the measurement, as in the daemon
        let mut cold = bench_node::compiler();
        let (compile, _) = timed(|| cold.compile(&known, &facts.collect(&known)));
        push(&mut times.everything, read, compile);

        guest.add_rule(number);
        let read = read_until_changed(&mut reader, &mut tree, Reader::read).elapsed();
        let (compile, _) = timed(|| compiler.compile(&tree, &facts.collect(&tree)));
        push(&mut times.one_file, read, compile);

        let (read, again): (_, Arc<Tree>) =
            timed(|| reader.read().map(|()| reader.tree()).expect("a healthy configuration"));
        let (compile, _) = timed(|| compiler.compile(&again, &facts.collect(&again)));
        push(&mut times.nothing, read, compile);
        if live {
            let saves = ["iptables", "ip6tables"].map(|tool| tools::save(&bench_node.node.netns, tool, &[]));
            times.saves.push(saves[0].wall + saves[1].wall);
        }
    }
    times
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed(), result)
}

fn push(times: &mut [Vec<Duration>; 2], read: Duration, compile: Duration) {
    times[0].push(read);
    times[1].push(compile);
}
