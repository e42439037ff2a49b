//! `confirm`: writes the files on trial to the configuration.
use super::{DAEMON_TIMEOUT, LOCK_TIMEOUT, POLL_INTERVAL, trial_state};
use crate::cli::{Context, load, output, require_root};
use crate::system::files::Staged;
use crate::trial::{Candidate, Confirmation, Digest, Trial, TrialEnd, TrialState, TrialStore};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

/// The permissions of a new file, as in pmxcfs.
const MODE: u32 = 0o640;

pub(in crate::cli) fn run(context: &Context) -> Result<()> {
    require_root(context, "confirm")?;
    confirm(context)
}

/// Writes the files of the running trial to the configuration, and waits for its end.
///
/// # Errors
/// When there is none, or it has ended, or a file was changed or cannot be written. The trial then continues.
pub(super) fn confirm(context: &Context) -> Result<()> {
    let store = TrialStore::new(&context.root);
    let lock = store.lock(LOCK_TIMEOUT)?;
    let Some(trial) = store.load()? else {
        bail!("no trial is running; 'pve-firewall try FILE' starts one");
    };
    let tree = load::tree(context, &context.node()?)?;
    match trial.state(&tree, &TrialStore::clock()?, || Confirmation::None) {
        TrialState::Runs | TrialState::Over(TrialEnd::Confirmed) => {}
        TrialState::Over(end) => bail!("the trial of {} has ended: {end}", trial.names()),
    }
    let written = write(&context.config, &trial)?;
    // the tree now contains the files, so the deadline no longer applies
    store.mark_confirmed().context("the files are written, but the trial could not be marked as confirmed")?;
    drop(lock);
    for path in written {
        output::data(&format!("Confirmed: {}\n", path.display()))?;
    }
    await_end(context, &store, &trial)
}

/// Writes all files, or none as far as possible; returns their paths.
fn write(config: &Path, trial: &Trial) -> Result<Vec<PathBuf>> {
    let mut staged = Vec::new();
    for Candidate { path, replaces, content } in &trial.files {
        let place = config.join(path);
        let old = match fs::read(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            other => Some(other.with_context(|| format!("cannot read {}", place.display()))?),
        };
        let now = old.as_deref().unwrap_or_default();
        if Digest::of(now) != *replaces && *now != **content {
            bail!(
                "{} has changed since the start of the trial: nothing is written; 'pve-firewall revert' ends the trial",
                place.display()
            );
        }
        let mode = fs::metadata(&place).map_or(MODE, |meta| meta.permissions().mode() & 0o777);
        let new = Staged::write(&place, content, mode).map_err(|error| not_written(&error))?;
        staged.push((place, old, new, mode));
    }
    let mut written: Vec<(PathBuf, Option<Vec<u8>>, u32)> = Vec::new();
    for (place, old, new, mode) in staged {
        if let Err(error) = new.commit() {
            let back = restore(&written);
            return Err(not_written(&error).context(back));
        }
        written.push((place, old, mode));
    }
    Ok(written.into_iter().map(|(place, ..)| place).collect())
}

fn not_written(error: &anyhow::Error) -> anyhow::Error {
    let refused = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let advice = match refused.last().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem) => {
            " (without a quorum of the cluster's nodes /etc/pve is read-only: 'pvecm status')"
        }
        _ => "",
    };
    anyhow::anyhow!("{error:#}{advice}; nothing is confirmed, and the trial continues until its deadline")
}

/// Restores the files that were already written; returns a text with those that could not be restored.
fn restore(written: &[(PathBuf, Option<Vec<u8>>, u32)]) -> String {
    let mut left = Vec::new();
    for (place, old, mode) in written {
        let back = match old {
            Some(old) => Staged::write(place, old, *mode).and_then(Staged::commit),
            None => fs::remove_file(place).map_err(Into::into),
        };
        if back.is_err() {
            left.push(place.display().to_string());
        }
    }
    match left.is_empty() {
        true => "no file is changed".to_string(),
        false => format!("these files are written and could not be restored: {}", left.join(", ")),
    }
}

/// Waits until the daemon applies the tree, which now contains the files.
fn await_end(context: &Context, store: &TrialStore, trial: &Trial) -> Result<()> {
    let deadline = Instant::now() + DAEMON_TIMEOUT;
    loop {
        match trial_state::of(context, store, trial) {
            Some(TrialEnd::Confirmed) => return Ok(()),
            Some(end) => bail!("the files are written, but the trial had ended meanwhile: {end}"),
            None if !trial_state::can_end(context, trial) => return store.clear(),
            None if Instant::now() > deadline => {
                bail!("the files are written, but the daemon does not read them; see 'pve-firewall status --verbose'")
            }
            None => sleep(POLL_INTERVAL),
        }
    }
}
