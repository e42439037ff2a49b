//! `stop`: stops the daemon and removes all our rules.
use super::start::{UNIT, by_systemd};
use super::{Context, require_root};
use crate::backend::Backend;
use crate::daemon::instance::running;
use crate::paths;
use crate::system::lock::FileLock;
use crate::system::process::processors;
use crate::system::{process, systemd};
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for the daemon to finish an update and remove the rules.
const STOP_TIMEOUT: Duration = Duration::from_secs(150);
/// How long to wait for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn run(context: &Context) -> Result<()> {
    require_root(context, "stop")?;
    if by_systemd(context) {
        systemd::systemctl("stop", UNIT)?;
    }
    // a daemon that was started manually, or none
    if let Some(pid) = running(&context.root, context.kind) {
        stop_process(pid)?;
    }
    // rules left by a killed daemon
    let _lock = match FileLock::acquire(&context.root.path(paths::UPDATE_LOCK), LOCK_TIMEOUT) {
        // remove the rules even if the lock file cannot be opened
        Err(error) if error.is::<io::Error>() => None,
        taken => Some(taken?),
    };
    let outcome = Backend::new(context.kind, &context.root, context.variant, processors()).remove();
    if !outcome.errors.is_empty() {
        bail!(
            "some rules could not be removed: {}; fix this and run 'pve-firewall stop' again",
            outcome.errors.join("; ")
        );
    }
    Ok(())
}

fn stop_process(pid: i32) -> Result<()> {
    process::signal(pid, Signal::SIGTERM)?;
    let deadline = Instant::now() + STOP_TIMEOUT;
    while process::is_alive(pid) {
        if Instant::now() > deadline {
            bail!(
                "the daemon (pid {pid}) does not end; kill it with 'kill -9 {pid}' and run 'pve-firewall stop' again"
            );
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
