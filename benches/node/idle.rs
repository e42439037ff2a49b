//! A cycle of the daemon in which nothing has changed, compared with the four bare saves of the same rules: on a file system
//! like pmxcfs, including the processor time of the file system, and on a plain directory.
use crate::bench_node::BenchNode;
use crate::table::{Measurement, Table, median};
use crate::tools;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

/// Number of measured cycles; limited by the total time of the bench.
const CYCLES: u32 = 6;
/// The same with a full reading in each.
const FULL_CYCLES: u32 = 3;
/// Interval of cycles.
const CYCLE: Duration = Duration::from_secs(10);
/// Time until the daemon is idle after a first update, which is measured by a full reading.
const TIME_UNTIL_IDLE: Duration = Duration::from_secs(22);
/// Number of full readings per hour (every five minutes) in its 360 cycles.
const FULL_READINGS_PER_HOUR: u32 = 12;
const CYCLES_PER_HOUR: u32 = 360;

/// How often other nodes write other files, as high availability does.
const OTHER_WRITES_INTERVAL: Duration = Duration::from_secs(2);

/// All measurements on a file system like pmxcfs.
pub fn on_cluster_file_system(nodes: &mut [BenchNode], table: &mut Table) {
    nodes.iter_mut().for_each(BenchNode::mount);
    nodes.iter_mut().for_each(|bench_node| bench_node.start(&[]));
    let plain = plain(nodes);
    eprintln!("idle cycles while other nodes write ...");
    let done = AtomicBool::new(false);
    let (busy, _) = scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for fuse in nodes.iter().filter_map(|bench_node| bench_node.fuse.as_ref()) {
                    fuse.change(|state| state.replace("nodes/n2/lrm_status", "{}"));
                }
                sleep(OTHER_WRITES_INTERVAL);
            }
        });
        let measured = measure_cycles(nodes, FULL_CYCLES);
        done.store(true, Ordering::SeqCst);
        measured
    });
    with_full_reading(plain, nodes, "on a file system like pmxcfs, including its own CPU time", Some(&busy), table);
    nodes.iter_mut().for_each(BenchNode::stop);
    nodes.iter_mut().for_each(BenchNode::unmount);
}

/// The cost of cycles without a full reading for each node, and of the bare saves at the same time.
pub struct Plain {
    cycles: Vec<Duration>,
    saves: Vec<Vec<Duration>>,
}

/// Measures newly started daemons.
pub fn plain(nodes: &[BenchNode]) -> Plain {
    eprintln!("idle cycles ...");
    sleep(TIME_UNTIL_IDLE);
    let (cycles, saves) = measure_cycles(nodes, CYCLES);
    Plain { cycles, saves }
}

/// Starts the daemons again, so that they read everything once a cycle, and adds the figures to the table.
pub fn with_full_reading(
    plain: Plain,
    nodes: &mut [BenchNode],
    place: &str,
    busy: Option<&[Duration]>,
    table: &mut Table,
) {
    eprintln!("idle cycles with a full reading ...");
    for bench_node in &mut *nodes {
        bench_node.stop();
        bench_node.start(&["--full-reading", "10"]);
    }
    let (full, more) = measure_cycles(nodes, FULL_CYCLES);
    let hour = |(plain, full): (&Duration, &Duration)| {
        (*plain * (CYCLES_PER_HOUR - FULL_READINGS_PER_HOUR) + *full * FULL_READINGS_PER_HOUR) / CYCLES_PER_HOUR
    };
    let hour: Vec<Duration> = plain.cycles.iter().zip(&full).map(hour).collect();
    let saves: Vec<Duration> =
        plain.saves.into_iter().zip(more).map(|(some, more)| median([some, more].concat())).collect();
    let target = "at most 0.125 of the four bare saves, averaged over an hour";
    table.heading(Measurement::Idle, &format!("Idle cycle, CPU time, {place}"), target);
    table.times("a cycle", &plain.cycles);
    if let Some(busy) = busy {
        table.times("a cycle in which other nodes write other files every 2 s", busy);
    }
    table.times("a cycle that reads everything", &full);
    table.times("average over an hour", &hour);
    table.times("four bare saves", &saves);
    table.ratios(&hour, &saves);
}

/// The cost of a cycle for each daemon, measured in parallel, while the tools run at intervals.
fn measure_cycles(nodes: &[BenchNode], cycles: u32) -> (Vec<Duration>, Vec<Vec<Duration>>) {
    let mut saves = vec![Vec::new(); nodes.len()];
    let costs = scope(|threads| {
        let followers: Vec<_> = nodes.iter().map(|bench_node| threads.spawn(|| cycle(bench_node, cycles))).collect();
        while followers.iter().any(|follower| !follower.is_finished()) {
            for (bench_node, saves) in nodes.iter().zip(&mut saves) {
                saves.push(tools::four_saves(&bench_node.node.netns).cpu);
            }
            sleep(Duration::from_secs(4));
        }
        followers.into_iter().map(|follower| follower.join().expect("the cost of a cycle")).collect()
    });
    (costs, saves)
}

fn cycle(bench_node: &BenchNode, cycles: u32) -> Duration {
    bench_node.wait_for_cycle();
    // start in the middle of a cycle, between the parts of a full reading
    sleep(CYCLE / 2);
    let before = bench_node.cpu();
    sleep(CYCLE * cycles);
    (bench_node.cpu() - before) / cycles
}
