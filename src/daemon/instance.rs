//! One daemon at a time: its lock and its pid file.
use crate::paths::{DAEMON_LOCK, PID_FILE};
use crate::system::lock::FileLock;
use crate::system::process::{self, PidFile};
use crate::system::root::Root;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// The name of the program, by which a pid file is checked.
const PROGRAM: &str = "pve-firewall";

/// The pid file's path on disk.
fn pid_path(root: &Root) -> PathBuf {
    root.path(PID_FILE)
}

/// The process number of the daemon that runs, if one does.
#[must_use]
pub fn running(root: &Root) -> Option<i32> {
    process::running(&pid_path(root), PROGRAM)
}

/// The right to be the daemon. Kept over a fork; the kernel releases it with the process.
#[derive(Debug)]
pub struct Instance {
    root: Root,
    _lock: Option<FileLock>,
    /// Why there is no lock: a `/run` that cannot be written must not leave the node without a firewall.
    pub without_lock: Option<String>,
}

impl Instance {
    /// Claims the right.
    ///
    /// # Errors
    /// When another daemon runs.
    pub fn claim(root: &Root) -> Result<Self> {
        let own = process::own_pid();
        if let Some(pid) = running(root).filter(|pid| *pid != own) {
            bail!("the daemon is already running, with pid {pid}; use 'pve-firewall restart' to restart it");
        }
        let root = root.clone();
        match FileLock::try_acquire(&root.path(DAEMON_LOCK)) {
            Ok(Some(lock)) => Ok(Instance { root, _lock: Some(lock), without_lock: None }),
            Ok(None) => bail!("another daemon is just starting or stopping; see 'pve-firewall status'"),
            Err(error) => Ok(Instance { root, _lock: None, without_lock: Some(format!("{error:#}")) }),
        }
    }

    /// Writes the pid file of this process. It goes when the value is dropped.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pid_file(&self) -> Result<PidFile> {
        PidFile::write(pid_path(&self.root))
    }
}
