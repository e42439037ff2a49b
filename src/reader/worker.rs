//! The worker process that reads the tree on request, and tells when something was written in it.
//!
//! It is killed and made anew whenever it takes too long, so it keeps nothing that matters. Watching is done here too,
//! because adding a watch looks up a path and may block. A watch holds an inode and not the mount: it neither keeps the
//! tree from being unmounted nor pmxcfs from starting again (`tests/reader.rs` shows it), and ends with the mount.
use super::scan::{Scan, Scanner};
use crate::system::worker::write_frame;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Read everything.
pub const READ: u8 = b'r';
/// Read everything, and tell of writes from now on.
pub const READ_AND_WATCH: u8 = b'w';
/// Only look whether something changed.
pub const STAT: u8 = b's';

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// Answer to [`READ`].
    Scan(Scan),
    /// Answer to [`STAT`]: the fingerprint of the tree.
    Fingerprint(u64),
    /// Something was written; said once between two requests.
    Written,
}

/// Answers requests on standard input until its end.
///
/// # Errors
/// When the process at the other side is gone.
pub fn work(root: PathBuf, node: String) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to its parent")?;
    let mut scanner = Scanner::new(root, node);
    let mut watch: Option<Inotify> = None;
    let mut told = false;
    loop {
        if !wait(watch.as_ref()) {
            let writes = watch.as_ref().is_some_and(|watch| watch.read_events().is_ok_and(|events| !events.is_empty()));
            if writes && !std::mem::replace(&mut told, true) {
                say(&Message::Written)?;
            }
            continue;
        }
        let mut request = [0];
        if io::stdin().read(&mut request)? == 0 {
            return Ok(());
        }
        told = false;
        match request[0] {
            STAT => say(&Message::Fingerprint(scanner.fingerprint()))?,
            request => {
                if request == READ_AND_WATCH {
                    watch = watch.or_else(|| Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok());
                }
                // before reading, so that no write falls between
                watch.iter().for_each(|watch| add_watches(watch, &scanner));
                say(&Message::Scan(scanner.read()))?;
            }
        }
    }
}

/// Waits for a request (`true`) or an event of the watch.
fn wait(watch: Option<&Inotify>) -> bool {
    let stdin = io::stdin();
    let mut fds = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    fds.extend(watch.map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
    poll(&mut fds, PollTimeout::NONE).is_ok() && fds[0].any().unwrap_or(true)
}

/// Adding a watch again is no change; after a mount or a new folder it is a new one.
fn add_watches(watch: &Inotify, scanner: &Scanner) {
    let writes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ONLYDIR;
    for folder in scanner.folders() {
        // a folder that is not there, or too many watches: the check every second serves
        let _ = watch.add_watch(&folder, writes);
    }
}

fn say(message: &Message) -> Result<()> {
    let frame = postcard::to_stdvec(message).context("cannot encode a message")?;
    write_frame(io::stdout().lock(), &frame).context("the reading side is gone")
}
