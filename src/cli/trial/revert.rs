//! `revert`: ends a trial, so that the files of the configuration are applied again.
use super::{ACTING, LOCKING, LOOKING, trial_state};
use crate::cli::{Context, output, require_root};
use crate::trial::{Trial, TrialStore};
use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for the daemon to report a new trial.
const UNSEEN: Duration = Duration::from_secs(3);

pub(in crate::cli) fn run(context: &Context) -> Result<()> {
    require_root(context, "revert")?;
    let store = TrialStore::new(&context.root);
    let trial = match store.load() {
        Ok(Some(trial)) => trial,
        Ok(None) => bail!("no trial is running"),
        // remove it in any case
        Err(_) => return store.clear(),
    };
    take_back(context, &store, &trial)?;
    output::data(&format!("Reverted: {}\n", trial.names()))
}

/// Ends a trial, and waits until its rules are removed.
///
/// # Errors
/// When it cannot be ended, or the daemon does not respond.
pub(super) fn take_back(context: &Context, store: &TrialStore, trial: &Trial) -> Result<()> {
    // end it even if the lock cannot be taken, as on a full file system
    let lock = store.lock(LOCKING);
    store.clear()?;
    drop(lock);
    let (began, deadline) = (Instant::now(), Instant::now() + ACTING);
    while trial_state::can_end(context, trial) {
        // a daemon will not see a trial that it has not seen yet
        let seen = store.ended(trial).is_some() || began.elapsed() > UNSEEN;
        if seen && !trial_state::is_in_force(context, trial) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the trial has ended, but the daemon does not respond; see 'pve-firewall status --verbose'");
        }
        sleep(LOOKING);
    }
    bail!("the trial has ended, but the daemon is not running: its rules stay in place until 'pve-firewall start'")
}
