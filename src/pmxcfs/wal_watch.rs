//! Watches the write-ahead log of pmxcfs (`/var/lib/pve-cluster/config.db-wal`). Every node writes each change of the tree to
//! its log before it answers, so inotify(7) events of the log also show writes by other nodes; such writes cause no events in
//! the tree itself.
use super::wal::{Wal, WalChange, Write};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The name of the log in its directory.
const LOG: &str = "config.db-wal";
/// The delay from the first event to reading all events: a transaction causes several.
const TRANSACTION: Duration = Duration::from_millis(2);
/// How long the transactions of a write in place are collected: there are several, some milliseconds apart.
const COLLECT: Duration = Duration::from_millis(15);
/// The minimum time between two reads of the tree that are caused by the log.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a file named by the log counts as recently written.
const RECENT: Duration = Duration::from_secs(1);
/// How long after the log has shown a change a read may still detect it.
const KNOWN: Duration = Duration::from_secs(2);

/// The watched log, and the changes that it showed.
#[derive(Debug)]
pub struct WalWatch {
    directory: PathBuf,
    inotify: Option<Inotify>,
    wal: Wal,
    /// Whether the end of the log, after which the next write follows, was found.
    begun: bool,
    /// Why the log does not show the writes of other nodes.
    problem: Option<String>,
    /// When the pending events are read.
    due: Option<Instant>,
    /// Since when the report of a write in place is delayed, because more writes may follow.
    collecting: Option<Instant>,
    /// No events are read before this time.
    rest: Instant,
    /// Whether relevant events were read and not reported yet.
    postponed: bool,
    /// The files named by the log, each with its last write and the time when that was read.
    named: BTreeMap<String, (Write, Instant)>,
    /// When the log last may have missed writes.
    unknown: Option<Instant>,
}

impl WalWatch {
    /// Watches the log in this directory.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        let (wal, named) = Default::default();
        let problem = None;
        WalWatch {
            directory,
            inotify,
            wal,
            begun: false,
            problem,
            due: None,
            collecting: None,
            rest: Instant::now(),
            postponed: false,
            named,
            unknown: None,
        }
    }

    /// Watches the directory that exists now. If it is watched already, nothing changes.
    pub fn watch(&mut self) {
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        let path = self.directory.display();
        let watched = match &self.inotify {
            Some(inotify) => inotify.add_watch(&self.directory, events).map_err(|errno| errno.desc()),
            None => Err("the kernel has no inotify watch left"),
        };
        self.problem = match watched {
            Err(reason) => Some(format!("cannot watch {path}: {reason}")),
            Ok(_) if !self.directory.join(LOG).is_file() => Some(format!("there is no {path}/{LOG}")),
            Ok(_) => None,
        };
        if self.problem.is_none() && !std::mem::replace(&mut self.begun, true) {
            self.wal.read(&self.directory.join(LOG), &|_| false);
        }
    }

    /// Why the log does not show the writes of other nodes.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// When the pending events are due; `None` if there are none.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Records that events are pending; they are read a moment later, together with those that follow.
    pub fn mark_pending(&mut self) {
        self.due.get_or_insert_with(|| self.rest.max(Instant::now() + TRANSACTION));
    }

    /// Reads the pending events. Returns whether they may be relevant.
    pub fn read(&mut self, is_relevant: impl Fn(&str) -> bool) -> bool {
        self.due = None;
        let collected = self.collecting.take().is_some();
        let postponed = std::mem::take(&mut self.postponed);
        let written = self.read_new(&is_relevant).is_some();
        if written {
            self.rest = Instant::now() + PAUSE;
        }
        written | collected | postponed
    }

    /// Like [`WalWatch::read`], if events are due. A write in place is reported a moment later, together with further writes.
    pub fn read_due(&mut self, is_relevant: impl Fn(&str) -> bool) -> bool {
        let now = Instant::now();
        if self.postponed || self.collecting.is_some_and(|since| now >= since + COLLECT) {
            return self.read(is_relevant);
        }
        self.due = None;
        match self.read_new(&is_relevant) {
            Some(Write::Renamed) => {
                self.collecting = None;
                self.rest = now + PAUSE;
                return true;
            }
            Some(Write::InPlace) => self.due = Some(*self.collecting.get_or_insert(now) + COLLECT),
            None => self.due = self.collecting.map(|since| since + COLLECT),
        }
        false
    }

    /// How relevant files were written since the last call: renamed if one of them was, otherwise or in doubt in place. `None`
    /// if none was written.
    fn read_new(&mut self, is_relevant: &impl Fn(&str) -> bool) -> Option<Write> {
        let now = Instant::now();
        self.named.retain(|_, (_, since)| now - *since < KNOWN);
        self.unknown = self.unknown.filter(|since| now - *since < KNOWN);
        if !self.take_events() {
            return None;
        }
        match self.wal.read(&self.directory.join(LOG), is_relevant) {
            WalChange::Named(files) => {
                let files: Vec<_> = files.into_iter().filter(|(name, _)| is_relevant(name)).collect();
                let renamed = files.iter().any(|(_, write)| *write == Write::Renamed);
                let write = if renamed { Write::Renamed } else { Write::InPlace };
                let any = !files.is_empty();
                self.named.extend(files.into_iter().map(|(name, write)| (name, (write, now))));
                any.then_some(write)
            }
            WalChange::Unknown => {
                self.unknown = Some(now);
                Some(Write::InPlace)
            }
        }
    }

    /// Defers the report of events that were read to the next read of the tree.
    pub fn postpone(&mut self) {
        self.postponed = true;
        self.due = Some(self.rest);
    }

    /// Consumes the pending events. Returns whether one is about the log.
    fn take_events(&mut self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut any = false;
        while let Ok(events) = inotify.read_events() {
            let of_log = |event: &InotifyEvent| event.name.as_deref().is_none_or(|name| name == LOG);
            any |= events.iter().any(of_log);
        }
        any
    }

    /// The files named by the log since `then`, each with its last write; `None` if the log may have missed writes.
    #[must_use]
    pub fn named_since(&self, then: Option<Instant>) -> Option<BTreeMap<&str, Write>> {
        let then = then?;
        if self.unknown.is_some_and(|unknown| unknown >= then) {
            return None;
        }
        let named = self.named.iter().filter(|(_, (_, since))| *since >= then);
        Some(named.map(|(name, (write, _))| (name.as_str(), *write)).collect())
    }

    /// Whether the log named the file recently, or may have missed a write.
    #[must_use]
    pub fn has_named(&self, name: &str) -> bool {
        self.unknown.is_some() || self.named.contains_key(name)
    }

    /// Whether the log named any file recently, or may have missed a write.
    #[must_use]
    pub fn has_named_any(&self) -> bool {
        self.unknown.is_some() || !self.named.is_empty()
    }

    /// How a file was written that the log named just now.
    #[must_use]
    pub fn recent(&self, name: &str) -> Option<Write> {
        self.named.get(name).filter(|(_, since)| since.elapsed() < RECENT).map(|(write, _)| *write)
    }

    /// A descriptor that is readable when there are events.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}
