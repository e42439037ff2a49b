//! Namespaces of the bench's own, so that the kernel cleans up after it however it ends.
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::process::{Command, ExitCode};

/// Set for the process inside.
const INSIDE: &str = "PVEFW_BENCH_INSIDE";

/// Runs this program again as the first process of a PID namespace, with a `/run` of its own, and returns how it ended;
/// `None` in that process. With it end all processes that it started, its network namespaces and its files. The `/run`
/// also holds the lock of iptables: others on this machine do not make the bench wait.
pub fn run() -> Option<ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        set_pdeathsig(Signal::SIGKILL).expect("to end with the process outside");
        furnish();
        return None;
    }
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).expect("namespaces (the bench needs root)");
    let program = std::env::current_exe().expect("the path of this program");
    let path = std::env::var("PATH").unwrap_or_default();
    // before others: what else this machine does is no part of the figures
    let status = Command::new("nice")
        .args(["-n", "-15"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("TMPDIR", "/run")
        .status()
        .expect("the program anew");
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn furnish() {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).expect("a /proc of its own");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).expect("a /run of its own");
}
