//! The lock of the legacy tools of iptables. Each tool would wait for the other family's, so this process takes it for both.
use crate::paths;
use crate::system::lock::FileLock;
use crate::system::root_directory::Root;
use crate::system::tools::Extras;
use anyhow::Result;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// The variable with another path of the lock, see iptables(8).
const VARIABLE: &str = "XTABLES_LOCKFILE";
/// A lock for the tool alone: its standard output is a file of its own.
const OWN_LOCK: &str = "/proc/self/fd/1";

/// The lock, shared by the tools of both families that run at the same time.
#[derive(Debug)]
pub(super) struct XtablesLock {
    path: PathBuf,
    held: Mutex<Weak<FileLock>>,
}

/// The lock while it is held; `None` if its file cannot be opened, so that the tool has to report that.
#[derive(Clone, Debug)]
pub(super) struct Held(Option<Arc<FileLock>>);

impl XtablesLock {
    /// The lock that the tools would take. The programs of a node with another root directory do not take the lock of this one.
    pub fn new(root: &Root) -> Self {
        let path = std::env::var_os(VARIABLE).map_or_else(|| root.path(paths::XTABLES_LOCK), PathBuf::from);
        XtablesLock { path, held: Mutex::default() }
    }

    /// Takes the lock, waiting at most `timeout`, or shares it with a tool that runs already.
    pub fn hold(&self, timeout: Duration) -> Result<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = held.upgrade() {
            return Ok(Held(Some(lock)));
        }
        let lock = FileLock::acquire_if_possible(&self.path, timeout)?.map(Arc::new);
        *held = lock.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ok(Held(lock))
    }
}

impl Held {
    /// Whether this process has the lock, so that tools can share it.
    pub fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// What a tool needs to run with the lock of this process. It has the lock too, in case this process ends before it.
    pub fn extras(&self) -> Extras<'_> {
        let Some(lock) = &self.0 else { return Extras::default() };
        Extras { file: Some(lock.as_fd()), variable: Some((VARIABLE, OWN_LOCK)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_share_the_lock_and_others_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xtables.lock");
        let lock = XtablesLock { path: path.clone(), held: Mutex::default() };
        let (one, other) = (lock.hold(Duration::ZERO).unwrap(), lock.hold(Duration::ZERO).unwrap());
        assert!(one.extras().file.is_some());
        drop(one);
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        drop(other);
        let by_others = FileLock::try_acquire(&path).unwrap().unwrap();
        assert!(lock.hold(Duration::ZERO).is_err());
        drop(by_others);
        lock.hold(Duration::ZERO).unwrap();
        let missing = XtablesLock { path: "/proc/no/xtables.lock".into(), held: Mutex::default() };
        assert!(!missing.hold(Duration::ZERO).unwrap().is_shared());
    }
}
