//! `revert`: the files of the configuration alone count again.
use super::{ACTING, LOCKING, LOOKING, outcome};
use crate::cli::{Context, output, require_root};
use crate::daemon::instance::running;
use crate::trial::{Trial, TrialStore};
use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the daemon may take to say that it has taken a trial up.
const UNSEEN: Duration = Duration::from_secs(3);

pub(in crate::cli) fn run(context: &Context) -> Result<()> {
    require_root("revert")?;
    let store = TrialStore::new(&context.root);
    let trial = match store.load() {
        Ok(Some(trial)) => trial,
        Ok(None) => bail!("no trial is under way"),
        // whatever is there is to go
        Err(_) => return store.clear(),
    };
    take_back(context, &store, &trial)?;
    output::data(&format!("Reverted: {}\n", trial.names()))
}

/// Ends a trial, and waits until its rules are gone.
///
/// # Errors
/// When it cannot be ended, or the daemon does not act.
pub(super) fn take_back(context: &Context, store: &TrialStore, trial: &Trial) -> Result<()> {
    // one that cannot be locked, as on a full file system, is ended all the same
    let _lock = store.lock(LOCKING);
    store.clear()?;
    let (began, deadline) = (Instant::now(), Instant::now() + ACTING);
    while running(&context.root).is_some() && !outcome::is_over(context, trial) {
        // one that the daemon has not yet seen, it never will
        if began.elapsed() > UNSEEN && !outcome::is_in_force(context, trial) {
            break;
        }
        if Instant::now() > deadline {
            bail!("the trial is ended, but the daemon does not act; see 'pve-firewall status --verbose'");
        }
        sleep(LOOKING);
    }
    if running(&context.root).is_none() {
        bail!("the trial is ended, but the daemon is not running: its rules stay until 'pve-firewall start'");
    }
    Ok(())
}
