//! The daemon's status file, read by `pve-firewall status`.
use super::trials::TrialStatus;
use crate::health::ActiveFinding;
use crate::model::{BackendKind, DaemonOptions};
use crate::paths::daemon_files;
use crate::system::files;
use crate::system::root_directory::Root;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The state of a running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its pid.
    pub pid: u32,
    /// When it started or re-executed itself, in nanoseconds since 1970.
    pub started: u64,
    /// When its last update ended, in seconds since 1970.
    pub updated: u64,
    /// The duration of that update, in milliseconds.
    pub duration: u64,
    /// When an update last changed something in the kernel, in seconds since 1970.
    pub changed: Option<u64>,
    /// The current errors.
    #[serde(rename = "faults")]
    pub errors: Vec<String>,
    /// The current findings.
    #[serde(default)]
    pub findings: Vec<ActiveFinding>,
    /// The options that rules depend on.
    #[serde(flatten)]
    pub options: DaemonOptions,
    /// What happens in a hand-over in which the other daemon has to remove its rules.
    #[serde(default)]
    pub hand_over: Option<String>,
    /// The running trial.
    #[serde(default)]
    pub trial: Option<TrialStatus>,
}

fn path(root: &Root, kind: BackendKind) -> PathBuf {
    root.path(daemon_files(kind).status)
}

impl Status {
    /// Writes the file atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, root: &Root, kind: BackendKind) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("cannot encode the status")?;
        files::replace(&path(root, kind), &text, 0o644)
    }

    /// Reads the status of the daemon with this pid.
    #[must_use]
    pub fn read(root: &Root, kind: BackendKind, pid: i32) -> Option<Status> {
        let text = files::read_optional(&path(root, kind)).ok()??;
        let status: Status = serde_json::from_slice(&text).ok()?;
        (i32::try_from(status.pid) == Ok(pid)).then_some(status)
    }

    /// Removes the file when the daemon ends.
    pub fn remove(root: &Root, kind: BackendKind) {
        // a stale file is detected by its pid
        let _ = files::remove(&path(root, kind));
    }
}
