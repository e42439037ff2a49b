//! Writing files so that nobody sees half of one, and no planted link is followed.
use anyhow::{Context, Result, ensure};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Replaces `path` by `content` in one step (a new file renamed over the old one), making its folder if need be.
///
/// A symlink at `path` is replaced, never followed.
///
/// # Errors
/// When the folder cannot be made or the new file not be written; the old file is then untouched.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut name = path.file_name().context("a path without a file name")?.to_os_string();
    name.push(".new");
    let fresh = folder.join(name);
    let written = write_fresh(&fresh, content, mode).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn write_fresh(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let open = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match open() {
        // left behind by a run that was killed, or planted
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            open()?
        }
        other => other?,
    };
    file.write_all(content)
}

/// The content of a file, or `None` where there is none.
///
/// # Errors
/// Any failure to read other than the file's absence.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The content of a file of at most `largest` bytes that nobody but root can have written; `None` where there is none.
/// No symlink is followed.
///
/// # Errors
/// When it is no such file, or cannot be read.
pub fn read_own(path: &Path, largest: u64) -> Result<Option<Vec<u8>>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.context("it cannot be opened")?,
    };
    let meta = file.metadata().context("it cannot be looked at")?;
    ensure!(meta.is_file(), "it is no regular file");
    ensure!(meta.uid() == 0 && meta.mode() & 0o022 == 0, "others than root can write it");
    ensure!(meta.len() <= largest, "it is larger than {largest} bytes");
    let mut content = Vec::new();
    file.take(largest).read_to_end(&mut content).context("it cannot be read")?;
    Ok(Some(content))
}

/// Removes a file; its absence is fine.
///
/// # Errors
/// Any failure other than the file's absence.
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
    fn replacing_leaves_no_second_file_and_follows_no_link() {
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
    fn absence_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_optional(&dir.path().join("none")).unwrap(), None);
        remove(&dir.path().join("none")).unwrap();
    }
}
