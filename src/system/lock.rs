//! Locks that exclude other runs of the same program.
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

const RETRY: Duration = Duration::from_millis(50);

/// An exclusive `flock` on a file; released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct FileLock {
    _file: Flock<File>,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock, waiting at most `patience`.
    ///
    /// # Errors
    /// When the file cannot be opened (a symlink in its place included), or another process keeps the lock.
    pub fn acquire(path: &Path, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                bail!(
                    "another process holds the lock {} (waited {} s); find it with 'fuser {0}'",
                    path.display(),
                    patience.as_secs()
                );
            }
            sleep(RETRY);
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// When the file cannot be opened or locked for another reason than being held.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let file = open(path).with_context(|| format!("cannot open the lock file {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(FileLock { _file: file, path: path.to_path_buf() })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// The locked file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_gets_an_error_and_the_lock_after_release() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock/x.lck");
        let held = FileLock::acquire(&path, Duration::ZERO).unwrap();
        let error = FileLock::acquire(&path, Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("another process holds the lock"), "{error}");
        drop(held);
        FileLock::acquire(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_lock_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lck");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(FileLock::acquire(&path, Duration::ZERO).is_err());
    }
}
