//! CPU time and memory of processes.
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::fs;
use std::time::Duration;

/// The CPU time of a process and all its children, including ended ones.
///
/// The clock of a process has nanosecond resolution. The kernel counts ended children in ticks of 10 ms, rounded once for
/// all of them.
pub fn cpu(pid: i32) -> Duration {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).and_then(|clock| clock.now());
    // a child that ends in between is counted with the ended children
    let own = clock.map_or(Duration::ZERO, Duration::from);
    let living: Duration = children(pid).into_iter().map(cpu).sum();
    own + ended_children(pid) + living
}

/// The CPU time of the ended children of this process.
pub fn own_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage(2)");
    [usage.user_time(), usage.system_time()]
        .map(|time| Duration::from_micros(u64::try_from(time.num_microseconds()).expect("a time")))
        .iter()
        .sum()
}

/// The running children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The name of a process (argv[0]).
pub fn name(pid: i32) -> String {
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split('\0').next().unwrap_or_default().to_string()
}

/// `cutime` and `cstime` of proc_pid_stat(5).
fn ended_children(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or(vec![], |(_, rest)| rest.split(' ').collect());
    let ticks: u64 = fields.iter().skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10) * u32::try_from(ticks).expect("less than a year")
}

/// A value in KiB from /proc/PID/status, in MB.
pub fn memory(pid: i32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a known name");
    let kib: f64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    kib * 1024.0 / 1e6
}
