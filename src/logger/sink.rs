//! The log file: whole lines, each in one file, whatever rotates it and however full the disk is.
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Appends to the log file.
#[derive(Debug)]
pub(super) struct Sink {
    path: PathBuf,
    file: File,
    /// A line of which the file took only a part, and how much of it. It is completed before anything else is written.
    torn: Option<(Vec<u8>, usize)>,
    failing: bool,
}

/// A write that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Lines that are not in the file, and will not be.
    pub skipped: u64,
    /// Why, the first time; nothing for the same trouble going on.
    pub news: Option<io::Error>,
}

impl Sink {
    /// Opens the file, creating it and its folder if need be.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = open(&path)?;
        Ok(Sink { path, file, torn: None, failing: false })
    }

    /// Opens the file anew, after it was moved away. A line that the old one took a part of goes wholly to the new one.
    ///
    /// # Errors
    /// When that fails; then lines go on to the old file.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        if let Some((_, written)) = &mut self.torn {
            *written = 0;
        }
        Ok(())
    }

    /// Appends these lines, each with its line end.
    ///
    /// # Errors
    /// With the number of lines that were lost. The file keeps only whole lines: one that was written in part is
    /// completed by a later call.
    pub fn write(&mut self, lines: &str) -> Result<(), Failure> {
        let written = self.complete_torn().and_then(|()| append(&mut self.file, lines.as_bytes()).map_err(Some));
        match written {
            Ok(()) => {
                self.failing = false;
                Ok(())
            }
            Err(None) => Err(Failure { skipped: count(lines.as_bytes()), news: None }),
            Err(Some((done, error))) => {
                let skipped = self.keep_torn(lines.as_bytes(), done);
                let news = (!std::mem::replace(&mut self.failing, true)).then_some(error);
                Err(Failure { skipped, news })
            }
        }
    }

    /// The last write failed.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn complete_torn(&mut self) -> Result<(), Option<(usize, io::Error)>> {
        let Some((line, written)) = &mut self.torn else { return Ok(()) };
        match append(&mut self.file, &line[*written..]) {
            Ok(()) => {
                self.torn = None;
                Ok(())
            }
            Err((done, _)) => {
                *written += done;
                Err(None)
            }
        }
    }

    /// Keeps the line that ends the written part if that is not the end of a line; returns the number of lines lost.
    fn keep_torn(&mut self, lines: &[u8], done: usize) -> u64 {
        let start = lines[..done].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if start == done {
            return count(&lines[done..]);
        }
        let end = lines[done..].iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| done + end + 1);
        self.torn = Some((lines[start..end].to_vec(), done - start));
        count(&lines[end..])
    }
}

/// A link of root's is followed, as a log may be kept elsewhere; what another user has put there is replaced.
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
    // the link that was looked at, whatever is in its place by now
    let target = nix::fcntl::readlinkat(&link, "")?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    OpenOptions::new().append(true).create(true).mode(0o640).open(folder.join(target))
}

/// Writes everything, or tells how many bytes were written.
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
    fn a_torn_line_is_completed_and_only_whole_lines_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path());
        let lines = b"one\ntwo\nthree\nfour\n";
        for (done, skipped, torn) in [
            (0, 4, None),
            (1, 3, Some((&b"one\n"[..], 1))),
            (4, 3, None),
            (6, 2, Some((&b"two\n"[..], 2))),
            (18, 0, Some((&b"four\n"[..], 4))),
        ] {
            sink.torn = None;
            assert_eq!(sink.keep_torn(lines, done), skipped, "{done}");
            assert_eq!(sink.torn, torn.map(|(line, done)| (line.to_vec(), done)), "{done}");
        }
        sink.write("next\n").unwrap();
        assert_eq!(fs::read_to_string(sink.path()).unwrap(), "\nnext\n");
    }

    #[test]
    fn a_torn_line_goes_wholly_to_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path());
        sink.torn = Some((b"torn\n".to_vec(), 3));
        fs::rename(sink.path(), dir.path().join("old")).unwrap();
        sink.reopen().unwrap();
        sink.write("next\n").unwrap();
        assert_eq!(fs::read_to_string(sink.path()).unwrap(), "torn\nnext\n");
    }

    #[test]
    fn a_link_is_followed_if_it_is_roots() {
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
    fn a_full_disk_is_news_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path());
        sink.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let failure = sink.write("one\ntwo\n").unwrap_err();
        assert_eq!((failure.skipped, failure.news.unwrap().kind()), (2, ErrorKind::StorageFull));
        let failure = sink.write("three\n").unwrap_err();
        assert_eq!((failure.skipped, failure.news.is_none(), sink.is_failing()), (1, true, true));
        sink.reopen().unwrap();
        sink.write("four\n").unwrap();
        assert!(!sink.is_failing());
    }
}
