//! The log file. Every line is complete and in a single file, also when the file is rotated or the disk is full.
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Appends to the log file.
#[derive(Debug)]
pub(super) struct Sink {
    path: PathBuf,
    file: File,
    /// A partially written line, and the number of bytes written. It is completed before the next write.
    partial: Option<(Vec<u8>, usize)>,
    failing: bool,
}

/// A failed write.
#[derive(Debug)]
pub(super) struct WriteFailure {
    /// Number of dropped lines.
    pub skipped: u64,
    /// The error; `None` if the previous write failed too.
    pub first_error: Option<io::Error>,
}

impl Sink {
    /// Opens the file; creates it and its directory if needed.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = open(&path)?;
        Ok(Sink { path, file, partial: None, failing: false })
    }

    /// Reopens the file after rotation. A line that the old file has only in part is written to the new one in full.
    ///
    /// # Errors
    /// When opening fails; further lines are then appended to the old file.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        if let Some((_, written)) = &mut self.partial {
            *written = 0;
        }
        Ok(())
    }

    /// Appends these lines, each with its line end.
    ///
    /// # Errors
    /// With the number of dropped lines. A partially written line is not dropped: a later call completes it.
    pub fn write(&mut self, lines: &str) -> Result<(), WriteFailure> {
        let written = self.complete_partial().and_then(|()| append(&mut self.file, lines.as_bytes()).map_err(Some));
        match written {
            Ok(()) => {
                self.failing = false;
                Ok(())
            }
            Err(None) => Err(WriteFailure { skipped: count(lines.as_bytes()), first_error: None }),
            Err(Some((done, error))) => {
                let skipped = self.keep_partial(lines.as_bytes(), done);
                let first_error = (!std::mem::replace(&mut self.failing, true)).then_some(error);
                Err(WriteFailure { skipped, first_error })
            }
        }
    }

    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn complete_partial(&mut self) -> Result<(), Option<(usize, io::Error)>> {
        let Some((line, written)) = &mut self.partial else { return Ok(()) };
        match append(&mut self.file, &line[*written..]) {
            Ok(()) => {
                self.partial = None;
                Ok(())
            }
            Err((done, _)) => {
                *written += done;
                Err(None)
            }
        }
    }

    /// Keeps a line that was written only in part; returns the number of dropped lines.
    fn keep_partial(&mut self, lines: &[u8], done: usize) -> u64 {
        let start = lines[..done].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if start == done {
            return count(&lines[done..]);
        }
        let end = lines[done..].iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| done + end + 1);
        self.partial = Some((lines[start..end].to_vec(), done - start));
        count(&lines[end..])
    }
}

/// A symlink owned by root is followed, so that the log can be kept elsewhere; another user's symlink is replaced.
fn open(path: &Path) -> io::Result<File> {
    let append = |path: &Path, flags| {
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW | flags).open(path)
    };
    match append(path, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {}
        other => return other,
    }
    let link = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    if link.metadata()?.uid() != 0 {
        fs::remove_file(path)?;
        return append(path, libc::O_EXCL);
    }
    // read the symlink that was checked, not one that may have replaced it since
    let target = nix::fcntl::readlinkat(&link, "")?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    OpenOptions::new().append(true).create(true).mode(0o640).open(directory.join(target))
}

/// Writes all bytes; an error includes the number of bytes written.
fn append(file: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return Err((done, ErrorKind::WriteZero.into())),
            Ok(written) => done += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(dir: &Path) -> Sink {
        Sink::open(dir.join("log/file")).unwrap()
    }

    #[test]
    fn a_partial_line_is_completed_and_dropped_lines_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path());
        let lines = b"one\ntwo\nthree\nfour\n";
        for (done, skipped, partial) in [
            (0, 4, None),
            (1, 3, Some((&b"one\n"[..], 1))),
            (4, 3, None),
            (6, 2, Some((&b"two\n"[..], 2))),
            (18, 0, Some((&b"four\n"[..], 4))),
        ] {
            sink.partial = None;
            assert_eq!(sink.keep_partial(lines, done), skipped, "{done}");
            assert_eq!(sink.partial, partial.map(|(line, done)| (line.to_vec(), done)), "{done}");
        }
        sink.write("next\n").unwrap();
        assert_eq!(fs::read_to_string(sink.path()).unwrap(), "\nnext\n");
    }

    #[test]
    fn a_partial_line_is_written_to_the_new_file_in_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path());
        sink.partial = Some((b"partial\n".to_vec(), 3));
        fs::rename(sink.path(), dir.path().join("old")).unwrap();
        sink.reopen().unwrap();
        sink.write("next\n").unwrap();
        assert_eq!(fs::read_to_string(sink.path()).unwrap(), "partial\nnext\n");
    }

    #[test]
    fn only_a_symlink_owned_by_root_is_followed() {
        use std::os::unix::fs::{lchown, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, victim) = (dir.path().join("elsewhere"), dir.path().join("victim"));
        fs::create_dir(dir.path().join("log")).unwrap();
        symlink("../elsewhere", dir.path().join("log/file")).unwrap();
        let mut sink = sink(dir.path());
        sink.write("one\n").unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "one\n");
        fs::remove_file(sink.path()).unwrap();
        symlink(&victim, sink.path()).unwrap();
        lchown(sink.path(), Some(1234), None).expect("needs root");
        sink.reopen().unwrap();
        sink.write("two\n").unwrap();
        assert!(!victim.exists());
        assert!(fs::symlink_metadata(sink.path()).unwrap().is_file());
        assert_eq!(fs::read_to_string(sink.path()).unwrap(), "two\n");
    }

    #[test]
    fn a_full_disk_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path());
        sink.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let failure = sink.write("one\ntwo\n").unwrap_err();
        assert_eq!((failure.skipped, failure.first_error.unwrap().kind()), (2, ErrorKind::StorageFull));
        let failure = sink.write("three\n").unwrap_err();
        assert_eq!((failure.skipped, failure.first_error.is_none(), sink.is_failing()), (1, true, true));
        sink.reopen().unwrap();
        sink.write("four\n").unwrap();
        assert!(!sink.is_failing());
    }
}
