//! The lock and the pid file that ensure a single daemon.
use crate::model::BackendKind;
use crate::paths::daemon_files;
use crate::system::lock::FileLock;
use crate::system::pid_file::{self, PidFile};
use crate::system::process;
use crate::system::root_directory::Root;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// The pid file's path on disk.
fn pid_path(root: &Root, kind: BackendKind) -> PathBuf {
    root.path(daemon_files(kind).pid)
}

/// The pid of the running daemon of a backend, if any.
#[must_use]
pub fn running(root: &Root, kind: BackendKind) -> Option<i32> {
    pid_file::running(&pid_path(root, kind), kind.program())
}

/// Whether the daemon of a backend has ended without removing its pid file.
#[must_use]
pub fn was_killed(root: &Root, kind: BackendKind) -> bool {
    pid_path(root, kind).exists() && running(root, kind).is_none()
}

/// The lock of the daemon. Inherited by fork(2); the kernel releases it when the process ends.
#[derive(Debug)]
pub struct Instance {
    root: Root,
    kind: BackendKind,
    _lock: Option<FileLock>,
    /// The error if the lock could not be taken: the firewall starts even if `/run` cannot be written.
    pub without_lock: Option<String>,
}

impl Instance {
    /// Takes the lock.
    ///
    /// # Errors
    /// When another daemon is running.
    pub fn claim(root: &Root, kind: BackendKind) -> Result<Self> {
        let own = process::own_pid();
        if let Some(pid) = running(root, kind).filter(|pid| *pid != own) {
            match kind {
                BackendKind::Iptables => {
                    bail!("the daemon is already running, with pid {pid}; use 'pve-firewall restart' to restart it")
                }
                BackendKind::Nftables => {
                    bail!(
                        "the daemon is already running, with pid {pid}; stop it first: systemctl stop proxmox-firewall"
                    )
                }
            }
        }
        let root = root.clone();
        match FileLock::try_acquire(&root.path(daemon_files(kind).lock)) {
            Ok(Some(lock)) => Ok(Instance { root, kind, _lock: Some(lock), without_lock: None }),
            Ok(None) => bail!("another daemon is starting or stopping; see '{} status'", kind.program()),
            Err(error) => Ok(Instance { root, kind, _lock: None, without_lock: Some(format!("{error:#}")) }),
        }
    }

    /// Writes the pid file of this process. It is removed on drop.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pid_file(&self) -> Result<PidFile> {
        PidFile::write(pid_path(&self.root, self.kind))
    }
}
