//! What the daemon tells of itself, in a file that `pve-firewall status` reads.
use super::trials::{Ended, TrialStatus};
use crate::paths::STATUS;
use crate::system::files;
use crate::system::root::Root;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The state of a running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process number.
    pub pid: u32,
    /// When it began, or executed itself anew, in nanoseconds since 1970.
    pub started: u64,
    /// When its last update ended, in seconds since 1970.
    pub updated: u64,
    /// How long that update took, in milliseconds.
    pub duration: u64,
    /// When an update last changed something in the kernel, in seconds since 1970.
    pub changed: Option<u64>,
    /// What is wrong now.
    pub faults: Vec<String>,
    /// The trial under way.
    #[serde(default)]
    pub trial: Option<TrialStatus>,
    /// How the last trial ended.
    #[serde(default)]
    pub last_trial: Option<Ended>,
}

fn path(root: &Root) -> PathBuf {
    root.path(STATUS)
}

impl Status {
    /// Writes it, in one step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("cannot encode the status")?;
        files::replace(&path(root), &text, 0o644)
    }

    /// What the daemon with this process number last wrote.
    #[must_use]
    pub fn read(root: &Root, pid: i32) -> Option<Status> {
        let text = files::read_optional(&path(root)).ok()??;
        let status: Status = serde_json::from_slice(&text).ok()?;
        (i32::try_from(status.pid) == Ok(pid)).then_some(status)
    }

    /// Removes the file, as the daemon's last act.
    pub fn remove(root: &Root) {
        // one that stays is known by its process number to be old
        let _ = files::remove(&path(root));
    }
}
