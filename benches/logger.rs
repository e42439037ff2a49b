//! Performance of the logger: dropped packets at fixed rates and at full speed, CPU time per line, memory, wake-ups.
//!
//! Sender and logger share the machine's cores, as on a flooded host.
#![allow(clippy::disallowed_methods, reason = "a bench does I/O")]
#[path = "../tests/support/flood.rs"]
mod flood;
#[path = "../tests/support/logger.rs"]
mod logger;
#[path = "../tests/support/netns.rs"]
mod netns;
#[path = "../tests/support/wait.rs"]
mod wait;

use flood::Sender;
use logger::{Logger, wait_for};
use netns::Netns;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

const SMALL: usize = 46;
const LARGE: usize = 1400;

fn main() {
    let idle = idle();
    println!("idle for 5 s: {idle} wake-ups");
    println!("a single packet is logged after {} ms\n", single_packet().as_millis());
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "bytes", "wanted/s", "sent/s", "sent", "written", "lost", "us/line", "RSS MB"
    );
    for (length, rate, seconds) in [
        (SMALL, 50_000, 4),
        (SMALL, 100_000, 4),
        (SMALL, 200_000, 10),
        (SMALL, usize::MAX, 5),
        (LARGE, 100_000, 4),
        (LARGE, 200_000, 5),
        (LARGE, usize::MAX, 5),
    ] {
        flood(length, rate, Duration::from_secs(seconds));
    }
}

/// Context switches of an idle logger in 5 s, each a wake-up.
fn idle() -> u64 {
    let netns = flood::namespace("bench");
    let root = tempfile::tempdir().expect("a directory");
    let logger = Logger::start(&netns, root.path(), &["--conntrack"]);
    std::thread::sleep(Duration::from_millis(500));
    let before = status(logger.pid(), "voluntary_ctxt_switches:");
    std::thread::sleep(Duration::from_secs(5));
    status(logger.pid(), "voluntary_ctxt_switches:") - before
}

/// The longest of five delays between sending a packet and its log line.
fn single_packet() -> Duration {
    let netns = flood::namespace("bench");
    let root = tempfile::tempdir().expect("a directory");
    let logger = Logger::start(&netns, root.path(), &[]);
    let times = (1..=5).map(|packets| {
        netns.run(|| Sender::new(SMALL).send_burst(1));
        let sent = Instant::now();
        wait_for("the packet", || (logger::packet_lines(&logger.text()) == packets).then(|| sent.elapsed()))
    });
    times.max().unwrap_or_default()
}

fn flood(length: usize, rate: usize, duration: Duration) {
    let netns = flood::namespace("bench");
    let root = tempfile::tempdir().expect("a directory");
    let mut logger = Logger::start(&netns, root.path(), &[]);
    let cpu_before = cpu(logger.pid());
    let start = Instant::now();
    let sent = netns.run(|| {
        let sender = Sender::new(length);
        if rate == usize::MAX { at_full_speed(&sender, duration) } else { sender.send_at_rate(rate, duration) }
    });
    let took = start.elapsed();
    let rss = status(logger.pid(), "VmHWM:") as f64 / 1024.0;
    wait_for_last_packet(&netns, &logger);
    let cpu_used = cpu(logger.pid()) - cpu_before;
    let log = logger.log();
    logger.terminate();
    let (written, lost) = count(&log);
    // without the packet sent after the flood
    let sent = sent + 1;
    let wanted = if rate == usize::MAX { "all".to_string() } else { rate.to_string() };
    let exact = if written + lost == sent { "" } else { "  NOT EXACT" };
    println!(
        "{length:>6} {wanted:>9} {:>9.0} {sent:>9} {written:>9} {lost:>9} {:>8.2} {rss:>8.1}{exact}",
        sent as f64 / took.as_secs_f64(),
        cpu_used.as_secs_f64() * 1e6 / written as f64,
    );
}

fn at_full_speed(sender: &Sender, duration: Duration) -> usize {
    const STEP: usize = 10_000;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < duration {
        sender.send_burst(STEP);
        sent += STEP;
    }
    sent
}

/// Waits until the logger has processed all packets, then sends one whose sequence number shows the last drops.
fn wait_for_last_packet(netns: &Netns, logger: &Logger) {
    let size = || fs::metadata(logger.log()).map_or(0, |file| file.len());
    let mut last = (0, Instant::now());
    let unchanged = |last: &mut (u64, Instant)| {
        if last.0 != size() {
            *last = (size(), Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(700)).then_some(())
    };
    wait_for("the logger to catch up", || unchanged(&mut last));
    netns.run(|| Sender::new(SMALL).send_burst(1));
    last = (0, Instant::now());
    wait_for("the last packet", || unchanged(&mut last));
}

/// Lines of packets, and entries reported as skipped.
fn count(log: &Path) -> (usize, usize) {
    let mut counts = (0, 0);
    for line in BufReader::new(fs::File::open(log).expect("the log")).lines().map_while(Result::ok) {
        counts.0 += logger::packet_lines(&line);
        counts.1 += logger::skipped(&line);
    }
    counts
}

/// CPU time from the scheduler's statistics (proc_pid_schedstat(5)).
fn cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the scheduler's counts");
    Duration::from_nanos(text.split(' ').next().and_then(|word| word.parse().ok()).expect("nanoseconds"))
}

/// A number in /proc/PID/status.
fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's state");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a known name");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}
