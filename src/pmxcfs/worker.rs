//! The worker process, which reads the tree on request and reports writes.
//!
//! It is killed and started again whenever it exceeds the timeout, so it has no essential state. It also does the watching,
//! because adding a watch looks up a path and can block. A watch holds an inode and not the mount: it prevents neither
//! unmounting nor a new start of pmxcfs (tested in `tests/kernel/reader.rs`), and ends with the mount.
use super::scan::{Scanner, Trust};
use super::snapshot::{News, Scan, Sight, Writing};
use super::watch::Watch;
use crate::system::worker::write_frame;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Read everything.
pub const READ: u8 = b'r';
/// Read everything, and report writes from now on.
pub const READ_AND_WATCH: u8 = b'w';
/// The same without trusting `stat`: all content is read.
pub const READ_ALL_AND_WATCH: u8 = b'a';
/// The same, trusting `stat` on every file system: only files whose `stat` has changed are read.
pub const LOOK_AND_WATCH: u8 = b'l';
/// Only compute the fingerprint of the tree.
pub const STAT: u8 = b's';

/// A message of the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// Answer to [`READ`] and its variants: the changes since the last such answer.
    News(News),
    /// Answer to [`STAT`]: the fingerprint of the tree.
    Fingerprint(u64),
    /// Something was written; sent once between two requests.
    Written,
}

/// Answers requests on standard input until its end.
///
/// # Errors
/// When the parent process has ended.
pub fn work(root: PathBuf, node: String) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to its parent")?;
    let scanner = Scanner::new(root, node);
    let output = io::stdout().as_fd().try_clone_to_owned().context("no standard output")?.into();
    let mut worker = Worker { scanner, watch: None, sent: Arc::default(), told: false, output };
    loop {
        if wait(worker.watch.as_ref()) {
            let mut request = [0];
            if io::stdin().read(&mut request)? == 0 {
                return Ok(());
            }
            worker.answer(request[0])?;
        } else {
            worker.hear()?;
        }
    }
}

struct Worker {
    scanner: Scanner,
    watch: Option<Watch>,
    /// The scan in the last answer.
    sent: Arc<Scan>,
    /// Whether a write has already been reported.
    told: bool,
    /// Standard output, without a buffer.
    output: File,
}

impl Worker {
    fn answer(&mut self, request: u8) -> Result<()> {
        self.told = false;
        match request {
            STAT => return write_frame(&self.output, &Message::Fingerprint(self.scanner.fingerprint())),
            READ => {}
            _ => self.watch = self.watch.take().or_else(Watch::new),
        }
        if request == READ_ALL_AND_WATCH {
            self.scanner.forget();
        }
        // before reading, so that no write is missed
        let (root, folders) = (self.scanner.root(), self.scanner.folders());
        let complete = self.watch.as_mut().is_some_and(|watch| watch.add(root, folders));
        self.watch.as_mut().map(Watch::hear);
        let trust = if request == LOOK_AND_WATCH { Trust::Everywhere } else { Trust::Local };
        let mut scan = self.scanner.read(trust);
        let written = self.watch.as_mut().is_some_and(Watch::hear);
        if !complete && scan.place.watched {
            Arc::make_mut(&mut scan).place.watched = false;
        }
        if let Some(watch) = &self.watch {
            mark_closed(&mut scan, watch);
        }
        write_frame(&self.output, &Message::News(News::between(&self.sent, &scan)))?;
        self.sent = scan;
        if written { self.tell() } else { Ok(()) }
    }

    fn hear(&mut self) -> Result<()> {
        if self.watch.as_mut().is_some_and(Watch::hear) { self.tell() } else { Ok(()) }
    }

    fn tell(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.told, true) { Ok(()) } else { write_frame(&self.output, &Message::Written) }
    }
}

fn mark_closed(scan: &mut Arc<Scan>, watch: &Watch) {
    let closed = |(path, sight): &(&Arc<str>, &Sight)| sight.writing == Writing::Perhaps && watch.is_closed(path);
    let closed: Vec<Arc<str>> = scan.files.iter().filter(closed).map(|(path, _)| path.clone()).collect();
    if closed.is_empty() {
        return;
    }
    let files = &mut Arc::make_mut(scan).files;
    for path in closed {
        files.entry(path).and_modify(|sight| sight.writing = Writing::Closed);
    }
}

/// Waits for a request (`true`) or an event of the watch.
fn wait(watch: Option<&Watch>) -> bool {
    let stdin = io::stdin();
    let mut fds = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    fds.extend(watch.map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
    poll(&mut fds, PollTimeout::NONE).is_ok() && fds[0].any().unwrap_or(true)
}
