//! `revert`: ends a trial, so that the files of the configuration are applied again.
use super::{DAEMON_TIMEOUT, LOCK_TIMEOUT, POLL_INTERVAL, trial_state};
use crate::cli::{Context, output, require_root};
use crate::trial::{Trial, TrialStore};
use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for the daemon to report a new trial.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

pub(in crate::cli) fn run(context: &Context) -> Result<()> {
    require_root(context, "revert")?;
    let store = TrialStore::new(&context.root);
    let trial = match store.load() {
        Ok(Some(trial)) => trial,
        Ok(None) => bail!("no trial is running"),
        // remove it in any case
        Err(_) => return store.clear(),
    };
    end_trial(context, &store, &trial)?;
    output::data(&format!("Reverted: {}\n", trial.names()))
}

/// Ends a trial, and waits until its rules are removed.
///
/// # Errors
/// When it cannot be ended, or the daemon does not respond.
pub(super) fn end_trial(context: &Context, store: &TrialStore, trial: &Trial) -> Result<()> {
    // end it even if the lock cannot be taken, as on a full file system
    let lock = store.lock(LOCK_TIMEOUT);
    store.clear()?;
    drop(lock);
    let (began, deadline) = (Instant::now(), Instant::now() + DAEMON_TIMEOUT);
    while trial_state::can_end(context, trial) {
        // a daemon that has not detected the trial yet will not apply it
        let seen = store.ended(trial).is_some() || began.elapsed() > REPORT_TIMEOUT;
        if seen && !trial_state::is_applied(context, trial) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the trial has ended, but the daemon does not respond; see 'pve-firewall status --verbose'");
        }
        sleep(POLL_INTERVAL);
    }
    bail!("the trial has ended, but the daemon is not running: its rules stay in place until 'pve-firewall start'")
}
