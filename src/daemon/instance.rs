//! The lock and the pid file that ensure a single daemon.
use crate::paths::{DAEMON_LOCK, PID_FILE};
use crate::system::lock::FileLock;
use crate::system::process::{self, PidFile};
use crate::system::root::Root;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// The name of the program, to verify a pid file.
const PROGRAM: &str = "pve-firewall";

/// The pid file's path on disk.
fn pid_path(root: &Root) -> PathBuf {
    root.path(PID_FILE)
}

/// The pid of the running daemon, if any.
#[must_use]
pub fn running(root: &Root) -> Option<i32> {
    process::running(&pid_path(root), PROGRAM)
}

/// The lock of the daemon. Inherited by fork(2); the kernel releases it when the process ends.
#[derive(Debug)]
pub struct Instance {
    root: Root,
    _lock: Option<FileLock>,
    /// The error if the lock could not be taken: the firewall starts even if `/run` cannot be written.
    pub without_lock: Option<String>,
}

impl Instance {
    /// Takes the lock.
    ///
    /// # Errors
    /// When another daemon is running.
    pub fn claim(root: &Root) -> Result<Self> {
        let own = process::own_pid();
        if let Some(pid) = running(root).filter(|pid| *pid != own) {
            bail!("the daemon is already running, with pid {pid}; use 'pve-firewall restart' to restart it");
        }
        let root = root.clone();
        match FileLock::try_acquire(&root.path(DAEMON_LOCK)) {
            Ok(Some(lock)) => Ok(Instance { root, _lock: Some(lock), without_lock: None }),
            Ok(None) => bail!("another daemon is starting or stopping; see 'pve-firewall status'"),
            Err(error) => Ok(Instance { root, _lock: None, without_lock: Some(format!("{error:#}")) }),
        }
    }

    /// Writes the pid file of this process. It is removed on drop.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pid_file(&self) -> Result<PidFile> {
        PidFile::write(pid_path(&self.root))
    }
}
