//! `stop`: stops the daemon and removes every rule of ours.
use super::start::UNIT;
use super::{Context, require_root};
use crate::daemon::instance::running;
use crate::iptables::apply::Firewall;
use crate::paths;
use crate::system::lock::FileLock;
use crate::system::{process, systemd};
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the daemon may take to finish an update and to remove the rules.
const STOPPING: Duration = Duration::from_secs(150);
/// How long the lock is waited for.
const LOCKING: Duration = Duration::from_secs(10);

pub(super) fn run(context: &Context) -> Result<()> {
    require_root("stop")?;
    if context.whole_system && systemd::booted() {
        systemd::systemctl("stop", UNIT)?;
    }
    // one that was started by hand, or is not there at all
    if let Some(pid) = running(&context.root) {
        stop_process(pid)?;
    }
    // whatever a daemon that was killed has left
    let _lock = match FileLock::acquire(&context.root.path(paths::UPDATE_LOCK), LOCKING) {
        // one that cannot be opened must not keep the rules live
        Err(error) if error.is::<io::Error>() => None,
        taken => Some(taken?),
    };
    let outcome = Firewall::new(&context.root, context.variant).remove();
    let faults: Vec<String> = outcome.faults.iter().map(ToString::to_string).collect();
    if !faults.is_empty() {
        bail!("not every rule could be removed: {}; mend that, and run 'pve-firewall stop' again", faults.join("; "));
    }
    Ok(())
}

fn stop_process(pid: i32) -> Result<()> {
    process::signal(pid, Signal::SIGTERM)?;
    let deadline = Instant::now() + STOPPING;
    while process::is_alive(pid) {
        if Instant::now() > deadline {
            bail!("the daemon (pid {pid}) does not end; end it with 'kill -9 {pid}' and run 'pve-firewall stop' again");
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
