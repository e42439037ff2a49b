//! `restart`: makes the daemon re-execute itself, or starts it if it is not running.
use super::args::StartOptions;
use super::{Context, require_root, start};
use crate::daemon::instance::running;
use crate::daemon::status::Status;
use crate::system::process;
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for the daemon to finish an update, re-execute itself and make its first update.
const RESTARTING: Duration = Duration::from_secs(150);

pub(super) fn run(context: &Context) -> Result<()> {
    require_root("restart")?;
    let Some(pid) = running(&context.root, context.kind) else {
        return start::run(context, &StartOptions::default());
    };
    let started = || Status::read(&context.root, context.kind, pid).map(|status| status.started);
    let before = started();
    process::signal(pid, Signal::SIGHUP)?;
    let deadline = Instant::now() + RESTARTING;
    while started().is_none() || started() == before {
        if !process::is_alive(pid) {
            bail!(
                "the daemon ended instead of re-executing itself; see 'journalctl -t pve-firewall', and run 'pve-firewall start'"
            );
        }
        if Instant::now() > deadline {
            bail!("the daemon (pid {pid}) did not re-execute itself; see 'journalctl -t pve-firewall'");
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
