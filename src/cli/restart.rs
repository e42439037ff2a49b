//! `restart`: makes the daemon re-execute itself; starts that of `pve-firewall` if it is not running.
use super::args::StartOptions;
use super::start::{self, UNIT};
use super::{Context, require_root};
use crate::daemon::instance::running;
use crate::daemon::status::Status;
use crate::model::BackendKind;
use crate::system::{process, systemd};
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for the daemon to finish an update, re-execute itself and make its first update.
const RESTART_TIMEOUT: Duration = Duration::from_secs(150);

pub(super) fn run(context: &Context) -> Result<()> {
    require_root(context, "restart")?;
    let program = context.kind.program();
    let Some(pid) = running(&context.root, context.kind) else {
        if context.kind == BackendKind::Nftables || systemd::runs_within(UNIT) {
            bail!("no daemon of this program is running; run 'systemctl restart {program}'");
        }
        return start::run(context, &StartOptions::default());
    };
    let started = || Status::read(&context.root, context.kind, pid).map(|status| status.started);
    let before = started();
    process::signal(pid, Signal::SIGHUP)?;
    let deadline = Instant::now() + RESTART_TIMEOUT;
    while started().is_none() || started() == before {
        if !process::is_alive(pid) {
            bail!(
                "the daemon ended instead of re-executing itself; see 'journalctl -t {program}', and run 'systemctl start {program}'"
            );
        }
        if Instant::now() > deadline {
            bail!("the daemon (pid {pid}) did not re-execute itself; see 'journalctl -t {program}'");
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
