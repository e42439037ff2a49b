//! A cycle of the daemon in which nothing has changed, against the four bare saves of the same rules.
use crate::process;
use crate::site::Site;
use crate::table::{Question, Table, median};
use crate::tools;
use std::thread::{scope, sleep};
use std::time::Duration;

/// How many cycles are measured: some minutes would be better, but the whole bench has ten.
const CYCLES: u32 = 6;
/// The same where everything is read in each.
const FULL_CYCLES: u32 = 3;
/// How far apart cycles are.
const CYCLE: Duration = Duration::from_secs(10);
/// Until nothing is left to do after a first update: some seconds later everything is read once more, part by part.
const SETTLING: Duration = Duration::from_secs(22);
/// Of the 360 cycles of an hour, everything is read in these: every five minutes.
const FULL_IN_HOUR: u32 = 12;
const HOUR: u32 = 360;

/// What cycles without a full reading cost each node, and the bare saves meanwhile.
pub struct Plain {
    cycles: Vec<Duration>,
    saves: Vec<Vec<Duration>>,
}

/// Follows daemons that have just been started.
pub fn plain(sites: &[Site]) -> Plain {
    eprintln!("idle cycles ...");
    sleep(SETTLING);
    let (cycles, saves) = follow(sites, CYCLES);
    Plain { cycles, saves }
}

/// Starts the daemons anew, so that they read everything once a cycle; and tells.
pub fn with_full_reading(plain: Plain, sites: &mut [Site], table: &mut Table) {
    eprintln!("idle cycles with a full reading ...");
    for site in &mut *sites {
        site.stop();
        site.start(&["--full-reading", "10"]);
    }
    let (full, more) = follow(sites, FULL_CYCLES);
    let hour = |(plain, full): (&Duration, &Duration)| (*plain * (HOUR - FULL_IN_HOUR) + *full * FULL_IN_HOUR) / HOUR;
    let hour: Vec<Duration> = plain.cycles.iter().zip(&full).map(hour).collect();
    let saves: Vec<Duration> =
        plain.saves.into_iter().zip(more).map(|(some, more)| median([some, more].concat())).collect();
    let target = "at most 0.125 of the four bare saves, averaged over an hour";
    table.heading(Question::Idle, "Idle cycle, CPU time", target);
    table.times("a cycle", &plain.cycles);
    table.times("a cycle that reads everything", &full);
    table.times("average over an hour", &hour);
    table.times("four bare saves", &saves);
    table.ratios(&hour, &saves);
}

/// What a cycle costs each daemon, all of them followed at the same time. Meanwhile the tools are run now and then.
fn follow(sites: &[Site], cycles: u32) -> (Vec<Duration>, Vec<Vec<Duration>>) {
    let mut saves = vec![Vec::new(); sites.len()];
    let costs = scope(|threads| {
        let followers: Vec<_> = sites.iter().map(|site| threads.spawn(|| cycle(site, cycles))).collect();
        while followers.iter().any(|follower| !follower.is_finished()) {
            for (site, saves) in sites.iter().zip(&mut saves) {
                saves.push(tools::four_saves(&site.node.netns).cpu);
            }
            sleep(Duration::from_secs(4));
        }
        followers.into_iter().map(|follower| follower.join().expect("the cost of a cycle")).collect()
    });
    (costs, saves)
}

fn cycle(site: &Site, cycles: u32) -> Duration {
    site.await_cycle();
    // in the middle between the ends of two cycles: parts of a full reading are read before and after
    sleep(CYCLE / 2);
    let before = process::cpu(site.daemon());
    sleep(CYCLE * cycles);
    (process::cpu(site.daemon()) - before) / cycles
}
