//! File locks that prevent concurrent runs of the program.
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

const RETRY: Duration = Duration::from_millis(50);

/// An exclusive flock(2) on a file; released on drop, and by the kernel when the process ends.
#[derive(Debug)]
pub struct FileLock {
    file: Flock<File>,
}

impl AsFd for FileLock {
    /// A process that inherits the descriptor has the lock, too, until it ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl FileLock {
    /// Takes the lock, waiting at most `timeout`.
    ///
    /// # Errors
    /// When the file cannot be opened, is a symlink owned by this user, or is locked by another process until the timeout.
    pub fn acquire(path: &Path, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                bail!(
                    "another process holds the lock {} (waited {} s); find it with 'fuser {0}'",
                    path.display(),
                    timeout.as_secs()
                );
            }
            sleep(RETRY);
        }
    }

    /// Takes the lock of other programs, waiting at most `timeout`. `None` if the file cannot be opened: those programs cannot
    /// lock it either.
    ///
    /// # Errors
    /// When it is locked by another process until the timeout.
    pub fn acquire_if_possible(path: &Path, timeout: Duration) -> Result<Option<Self>> {
        match FileLock::try_acquire(path) {
            Ok(None) => FileLock::acquire(path, timeout).map(Some),
            taken => Ok(taken.unwrap_or_default()),
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// When the file cannot be opened, or locking fails although no other process holds the lock.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let file = open(path).with_context(|| format!("cannot open the lock file {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(FileLock { file })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

/// Opens the file with access for its owner alone, because any user who can open a file can lock it. `/run/lock` is
/// writable for every user, so a file or symlink that another user has created there is replaced.
fn open(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let options = || {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
        options
    };
    let is_own = |meta: &Metadata| meta.uid() == nix::unistd::geteuid().as_raw();
    match options().open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) && !is_own(&fs::symlink_metadata(path)?) => {
            fs::remove_file(path)?;
        }
        Err(error) => return Err(error.into()),
        Ok(file) => {
            let meta = file.metadata()?;
            if is_own(&meta) {
                if meta.mode() & 0o077 != 0 {
                    file.set_permissions(Permissions::from_mode(0o600))?;
                }
                return Ok(file);
            }
            fs::remove_file(path)?;
        }
    }
    match options().create_new(true).open(path) {
        // another process created it first
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(options().open(path)?),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_fails_until_the_first_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock/x.lck");
        let held = FileLock::acquire(&path, Duration::ZERO).unwrap();
        let error = FileLock::acquire(&path, Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("another process holds the lock"), "{error}");
        drop(held);
        FileLock::acquire(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn other_users_cannot_open_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lck");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(FileLock::acquire(&path, Duration::ZERO).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // a file that another user has created and locked
        std::os::unix::fs::chown(&path, Some(1234), None).expect("needs root");
        let held = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        let lock = FileLock::acquire(&path, Duration::ZERO).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
        drop((held, lock));
    }

    #[test]
    fn a_symlink_in_place_of_the_lock_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lck");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(FileLock::acquire(&path, Duration::ZERO).is_err());
        // a symlink that another user has created is replaced
        std::os::unix::fs::lchown(&path, Some(1234), None).expect("needs root");
        let lock = FileLock::acquire(&path, Duration::ZERO).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        drop(lock);
    }
}
