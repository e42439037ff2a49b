//! Locks that exclude other runs of the same program.
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
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
    /// When the file cannot be opened (a symlink of our own in its place included), or another process keeps the lock.
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

/// Opens the file so that nobody else can lock it: whoever may open a file may lock it, for ever. `/run/lock` is open to
/// all, so a file or link that another user has put there is replaced.
fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
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
        // another process was faster
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(options().open(path)?),
        other => Ok(other?),
    }
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
    fn nobody_else_can_open_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lck");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(FileLock::acquire(&path, Duration::ZERO).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // one that another user has put there and keeps locked
        std::os::unix::fs::chown(&path, Some(1234), None).expect("needs root");
        let held = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        let lock = FileLock::acquire(&path, Duration::ZERO).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
        drop((held, lock));
    }

    #[test]
    fn a_link_in_place_of_the_lock_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lck");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(FileLock::acquire(&path, Duration::ZERO).is_err());
        // one that another user has put there is replaced
        std::os::unix::fs::lchown(&path, Some(1234), None).expect("needs root");
        let lock = FileLock::acquire(&path, Duration::ZERO).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        drop(lock);
    }
}
