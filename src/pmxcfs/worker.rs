//! The worker process, which reads the tree on request and reports writes.
//!
//! It is killed and started again whenever it takes too long, so it keeps no state that cannot be restored. Watching is done
//! here too, because adding a watch looks up a path and may block. A watch refers to an inode and not to the mount: it prevents
//! neither unmounting the tree nor starting pmxcfs again (tested in `tests/kernel/reader.rs`), and ends with the mount.
use super::scan::{Extent, ScanRequest, Scanner, candidates};
use super::snapshot::{FileState, LogState, Scan, ScanDelta, Writing};
use super::tree_watch::TreeWatch;
use super::wal::Write;
use super::wal_watch::WalWatch;
use crate::model::guest::GuestDevice;
use crate::node::lists_all;
use crate::paths::{MEMBERS, VMLIST};
use crate::system::netlink::LinkNames;
use crate::system::worker_process::{timeout, write_frame};
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Read the tree.
pub const READ: u8 = b'r';
/// Read the tree, and report writes from now on.
pub const READ_AND_WATCH: u8 = b'w';
/// The same, but all content is read again, even if `stat` shows no change.
pub const READ_ALL_AND_WATCH: u8 = b'a';
/// The same, but on any file system only files that are reported as changed are read again.
pub const READ_CHANGES_AND_WATCH: u8 = b'l';
/// Only compute the fingerprint of the tree.
pub const STAT: u8 = b's';

/// A message of the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum WorkerMessage {
    /// Answer to [`READ`] and its variants: the changes since the last such answer.
    ScanDelta(ScanDelta),
    /// Answer to [`STAT`]: the fingerprint of the tree.
    Fingerprint(u64),
    /// Something was written; sent once between two requests.
    Written,
}

/// Answers requests on standard input until its end. `log` is the directory of the write-ahead log of pmxcfs, if it is to be
/// watched.
///
/// # Errors
/// When the other process has ended.
pub fn work(root: PathBuf, node: String, log: Option<PathBuf>) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to its parent")?;
    let output = io::stdout().as_fd().try_clone_to_owned().context("no standard output")?.into();
    let mut worker = ScanWorker {
        scanner: Scanner::new(root, node.clone()),
        node,
        watch: None,
        log: log.map(WalWatch::new),
        links: LinkNames::open().ok(),
        devices: BTreeSet::new(),
        looked: None,
        devices_then: BTreeSet::new(),
        sent: Arc::default(),
        reported: false,
        output,
    };
    loop {
        if worker.wait() {
            let mut request = [0];
            if io::stdin().read(&mut request)? == 0 {
                return Ok(());
            }
            worker.answer(request[0])?;
        } else if worker.take_events() {
            worker.report()?;
        }
    }
}

struct ScanWorker {
    scanner: Scanner,
    node: String,
    watch: Option<TreeWatch>,
    log: Option<WalWatch>,
    links: Option<LinkNames>,
    /// The guests' devices that exist.
    devices: BTreeSet<GuestDevice>,
    /// When the last read began.
    looked: Option<Instant>,
    /// The devices that existed at that time.
    devices_then: BTreeSet<GuestDevice>,
    /// The last read that was sent.
    sent: Arc<Scan>,
    /// Whether a write was reported since the last request.
    reported: bool,
    /// Standard output, without a buffer.
    output: File,
}

impl ScanWorker {
    fn answer(&mut self, request: u8) -> Result<()> {
        self.reported = false;
        match request {
            STAT => return write_frame(&self.output, &WorkerMessage::Fingerprint(self.scanner.fingerprint())),
            READ => {}
            _ => self.watch = self.watch.take().or_else(|| TreeWatch::new(self.scanner.root())),
        }
        // before reading, so that no write is missed
        let directories = self.scanner.directories();
        let complete = self.watch.as_mut().is_some_and(|watch| watch.add(directories));
        self.log.iter_mut().for_each(WalWatch::watch);
        self.take_events();
        self.read_log();
        let (extent, began) = (extent(request), Instant::now());
        let logged = self.log.as_ref().is_some_and(|log| log.problem().is_none());
        let request = self.request(extent, logged);
        let mut scan = self.scanner.read(&request);
        let again = self.take_events();
        if request.extent != Extent::Changes
            && self.read_log()
            && let Some(log) = &mut self.log
        {
            log.postpone();
        }
        let fuse = scan.place.fuse;
        let place = &mut Arc::make_mut(&mut scan).place;
        place.watched &= complete;
        if fuse && let Some(log) = &self.log {
            place.log = log.problem().map_or(LogState::Followed, |problem| LogState::Failed(problem.into()));
        }
        if let Some(path) = self.unreported(&scan, &request) {
            let reason =
                format!("{}/{path} has changed, and the log of pmxcfs did not show it", self.scanner.root().display());
            Arc::make_mut(&mut scan).place.log = LogState::Failed(reason);
            self.log = None;
        }
        self.looked = Some(began);
        self.devices_then = request.devices;
        self.mark_writing(&mut scan);
        write_frame(&self.output, &WorkerMessage::ScanDelta(ScanDelta::between(&self.sent, &scan)))?;
        self.sent = scan;
        if again { self.report() } else { Ok(()) }
    }

    /// The parameters of the next read: what was written since the last one.
    fn request(&mut self, extent: Extent, logged: bool) -> ScanRequest {
        let touched = self.watch.as_mut().map(TreeWatch::take_touched);
        let named = self.log.as_ref().filter(|_| logged).map(|log| log.named_since(self.looked));
        let complete = matches!(touched, Some(Some(_))) && !matches!(named, Some(None));
        // if events of this node were dropped, `stat` may not show the change
        let extent = if matches!(touched, Some(None)) { Extent::Everything } else { extent };
        let names = named.flatten().into_iter().flat_map(BTreeMap::into_keys).map(String::from);
        let written = touched.flatten().into_iter().flatten().chain(names).collect();
        ScanRequest { extent, logged, written, complete, devices: self.devices.clone() }
    }

    /// A file that a read shows as changed although no event has reported it.
    fn unreported(&self, scan: &Scan, request: &ScanRequest) -> Option<Arc<str>> {
        let log = self.log.as_ref().filter(|_| request.logged && request.extent != Extent::Changes)?;
        let (before, now) = (&self.sent.place, &scan.place);
        let comparable = before.log == LogState::Followed && before.unhealthy.is_none() && now.unhealthy.is_none();
        // a device that appears or disappears adds or removes the file of a guest
        if !comparable || before.device != now.device || request.devices != self.devices_then {
            return None;
        }
        let reported = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            !request.complete || request.written.contains(path) || request.written.contains(name) || log.has_named(name)
        };
        let same_guests = |list: &FileState, before: &FileState| match (&list.result, &before.result) {
            (super::snapshot::FileResult::Content(list), super::snapshot::FileResult::Content(before)) => {
                lists_all(list, before) && lists_all(before, list)
            }
            _ => false,
        };
        let changed = scan.files.iter().find(|(path, state)| {
            let before = self.sent.files.get(*path);
            let same = before.is_some_and(|before| before.result == state.result);
            match &***path {
                // pmxcfs learns the members from corosync, and does not log them
                MEMBERS => false,
                VMLIST => !same && before.is_some_and(|before| !same_guests(state, before)) && !log.has_named_any(),
                path => !same && before.is_some() && !reported(path),
            }
        });
        changed.map(|(path, _)| path.clone())
    }

    /// Reads all pending events. Returns whether one is relevant.
    fn take_events(&mut self) -> bool {
        let written = self.watch.as_mut().is_some_and(TreeWatch::read);
        let due = self.log.as_ref().and_then(WalWatch::due).is_some_and(|due| due <= Instant::now());
        let ScanWorker { log, node, .. } = self;
        let logged = due && log.as_mut().is_some_and(|log| log.read_due(is_read(node)));
        written | logged | self.update_devices()
    }

    fn read_log(&mut self) -> bool {
        let ScanWorker { log, node, .. } = self;
        log.as_mut().is_some_and(|log| log.read(is_read(node)))
    }

    /// Updates the list of devices. Returns whether a guest's device has appeared or disappeared.
    fn update_devices(&mut self) -> bool {
        let Some(links) = &mut self.links else { return false };
        match links.update() {
            Ok(false) if self.looked.is_some() => return false,
            Ok(_) => {}
            Err(_) => {
                self.links = LinkNames::open().ok();
                return true;
            }
        }
        let devices = links.present().filter_map(GuestDevice::parse).collect();
        let changed = self.devices != devices;
        self.devices = devices;
        changed
    }

    fn report(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.reported, true) {
            Ok(())
        } else {
            write_frame(&self.output, &WorkerMessage::Written)
        }
    }

    fn mark_writing(&self, scan: &mut Arc<Scan>) {
        let writing = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            let local = self.watch.as_ref().and_then(|watch| watch.writing(path));
            let logged = || match self.log.as_ref()?.recent(name)? {
                Write::InPlace => Some(Writing::Logged),
                Write::Renamed => Some(Writing::Renamed),
            };
            local.or_else(logged)
        };
        let marked = |(path, state): (&Arc<str>, &FileState)| match (writing(path)?, state.writing) {
            (Writing::Open, _) => Some((path.clone(), Writing::Open)),
            (writing, Writing::Unknown) => Some((path.clone(), writing)),
            _ => None,
        };
        let marks: Vec<(Arc<str>, Writing)> = scan.files.iter().filter_map(marked).collect();
        if marks.is_empty() {
            return;
        }
        let files = &mut Arc::make_mut(scan).files;
        for (path, writing) in marks {
            files.entry(path).and_modify(|state| state.writing = writing);
        }
    }

    /// Waits for a request (`true`) or an event.
    fn wait(&mut self) -> bool {
        let stdin = io::stdin();
        let due = self.log.as_ref().and_then(WalWatch::due);
        // while events of the log are collected, further events do not wake this process
        let log = self.log.as_ref().filter(|_| due.is_none()).and_then(WalWatch::descriptor);
        let others = [self.watch.as_ref().map(AsFd::as_fd), self.links.as_ref().map(AsFd::as_fd)];
        let descriptors: Vec<BorrowedFd<'_>> = [Some(stdin.as_fd()), log].into_iter().chain(others).flatten().collect();
        let mut fds: Vec<PollFd<'_>> = descriptors.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let limit = due.map_or(PollTimeout::NONE, |due| timeout(due.saturating_duration_since(Instant::now())));
        if poll(&mut fds, limit).is_err() {
            return false;
        }
        let (asked, logged) = (fds[0].any().unwrap_or(true), log.is_some() && fds[1].any().unwrap_or(false));
        if logged {
            self.log.iter_mut().for_each(WalWatch::mark_pending);
        }
        asked
    }
}

/// A test for the names of files that are read on this node.
fn is_read(node: &str) -> impl Fn(&str) -> bool {
    move |name| !candidates(name, node).is_empty()
}

fn extent(request: u8) -> Extent {
    match request {
        READ_ALL_AND_WATCH => Extent::Everything,
        READ_CHANGES_AND_WATCH => Extent::Changes,
        _ => Extent::Cycle,
    }
}
