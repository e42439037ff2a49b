//! Replacing files atomically and reading them without following symlinks.
use anyhow::{Context, Result, ensure};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Replaces `path` atomically: writes a new file and renames it over the old one. Creates the directory if needed.
///
/// A symlink at `path` is replaced, never followed.
///
/// # Errors
/// When the directory cannot be created or the new file cannot be written; the old file is then unchanged.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    Staged::write(path, content, mode)?.commit()
}

/// A new file, written in the directory of the file that it replaces when committed. Otherwise it is removed when dropped.
#[derive(Debug)]
pub struct Staged {
    new: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl Staged {
    /// Writes the new file, under the name of `path` with `.new`. Creates the directory if needed.
    ///
    /// # Errors
    /// When the directory cannot be created or the new file cannot be written.
    pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<Self> {
        let directory = path.parent().context("the path has no directory")?;
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let mut name = path.file_name().context("the path has no file name")?.to_os_string();
        name.push(".new");
        let staged = Staged { new: directory.join(name), path: path.to_path_buf(), committed: false };
        write_new(&staged.new, content, mode).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(staged)
    }

    /// Renames it over the old one.
    ///
    /// # Errors
    /// When that is refused; the old file is then unchanged.
    pub fn commit(mut self) -> Result<()> {
        fs::rename(&self.new, &self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.new);
        }
    }
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let open = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match open() {
        // left by a killed run, or created by another user
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            open()?
        }
        other => other?,
    };
    file.write_all(content)
}

/// The content of a file, or `None` if it does not exist.
///
/// # Errors
/// When the file exists but cannot be read.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The content of a regular file that only root can write, of at most `limit` bytes; `None` if it does not exist.
/// Symlinks are not followed.
///
/// # Errors
/// When it is any other file, or cannot be read.
pub fn read_root_owned(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.context("it cannot be opened")?,
    };
    let meta = file.metadata().context("its metadata cannot be read")?;
    ensure!(meta.is_file(), "it is not a regular file");
    ensure!(meta.uid() == 0 && meta.mode() & 0o022 == 0, "users other than root can write it");
    ensure!(meta.len() <= limit, "it is larger than {limit} bytes");
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content).context("it cannot be read")?;
    Ok(Some(content))
}

/// Removes a file, if it exists.
///
/// # Errors
/// When it exists but cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_no_temporary_file_and_follows_no_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let path = dir.path().join("state");
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("state.new")).unwrap();
        replace(&path, b"content", 0o640).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(read_optional(&path).unwrap().unwrap(), b"content");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_missing_file_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_optional(&dir.path().join("none")).unwrap(), None);
        remove(&dir.path().join("none")).unwrap();
    }
}
