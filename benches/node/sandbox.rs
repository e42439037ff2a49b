//! Namespaces for the bench, so that the kernel removes everything when the bench ends in any way.
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::process::{Command, ExitCode};

/// Set in the environment of the inner process.
const INSIDE: &str = "PVEFW_BENCH_INSIDE";
/// Programs here replace others of the same name.
pub const TOOLS: &str = "/run/tools";

/// Runs this program again as the first process of a PID namespace with its own `/run`, and returns its exit code;
/// returns `None` in the inner process. When that ends, the kernel ends its children and frees its network namespaces and
/// files. The xtables lock is in `/run` too, so other programs cannot delay the bench.
pub fn run() -> Option<ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        set_pdeathsig(Signal::SIGKILL).expect("setting the parent-death signal");
        mount_all();
        return None;
    }
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).expect("namespaces (the bench needs root)");
    let program = std::env::current_exe().expect("the path of this program");
    let path = std::env::var("PATH").unwrap_or_default();
    // high priority, to reduce the influence of other processes
    let status = Command::new("nice")
        .args(["-n", "-15"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("PATH", format!("{TOOLS}:{path}:/usr/sbin:/sbin"))
        .env("TMPDIR", "/run")
        .status()
        .expect("this program");
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mount_all() {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).expect("a private /proc");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).expect("a private /run");
}
