//! The lock that only one update holds at a time.
use crate::paths::UPDATE_LOCK;
use crate::system::lock::FileLock;
use crate::system::root_directory::Root;
use anyhow::Result;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two attempts.
const INTERVAL: Duration = Duration::from_millis(50);

/// The lock of updates.
#[derive(Debug)]
pub struct UpdateLock(PathBuf);

impl UpdateLock {
    /// The lock of this node.
    pub fn new(root: &Root) -> Self {
        UpdateLock(root.path(UPDATE_LOCK))
    }

    /// Takes the lock, waiting up to ten seconds while `keep_waiting` is true; `None` if another process still holds it then.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn take(&self, keep_waiting: impl Fn() -> bool) -> Result<Option<FileLock>> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match FileLock::try_acquire(&self.0) {
                Ok(None) if Instant::now() < deadline && keep_waiting() => sleep(INTERVAL),
                result => return result,
            }
        }
    }

    /// The message about a lock that another process holds.
    pub fn held(&self) -> String {
        let path = self.0.display();
        let seconds = LOCK_TIMEOUT.as_secs();
        format!("another process holds the lock {path} since {seconds} s; find it with 'fuser {path}'")
    }
}
