//! Follows the write-ahead log of pmxcfs (`/var/lib/pve-cluster/config.db-wal`): each node makes each change of the tree
//! durable there before it answers, so an event of inotify(7) shows the writes of other nodes, which raise none in the tree.
use super::wal::{Wal, WalChange, Write};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The name of the log in its folder.
const LOG: &str = "config.db-wal";
/// Events are read this long after the first of them: a transaction causes several.
const TRANSACTION: Duration = Duration::from_millis(2);
/// A write in place makes several transactions some milliseconds apart: they are reported together.
const COLLECT: Duration = Duration::from_millis(15);
/// The shortest time between two looks at the tree for its sake.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a file that the log named counts as written just now.
const RECENT: Duration = Duration::from_secs(1);
/// How long a pass may find a change after the log has shown it.
const KNOWN: Duration = Duration::from_secs(2);

/// The log, and what it showed since this was last asked for.
#[derive(Debug)]
pub struct LogWatch {
    folder: PathBuf,
    inotify: Option<Inotify>,
    wal: Wal,
    /// Whether its end was found, where the first write of another node will follow.
    begun: bool,
    /// Why the log does not show the writes of other nodes.
    problem: Option<String>,
    /// When the events that there are will be read.
    due: Option<Instant>,
    /// Since when a write in place is not reported, for more may follow.
    collecting: Option<Instant>,
    /// None are read before.
    rest: Instant,
    /// Whether events that matter were read and not reported.
    postponed: bool,
    /// The files that the log named, each with its last write and when that was read.
    named: BTreeMap<String, (Write, Instant)>,
    /// Whether it may have missed any.
    unknown: Option<Instant>,
}

impl LogWatch {
    /// Of the log in this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        let (wal, named) = Default::default();
        let problem = None;
        LogWatch {
            folder,
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

    /// Watches the folder that is there now. Watching the same one again is no change.
    pub fn watch(&mut self) {
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        let path = self.folder.display();
        let watched = match &self.inotify {
            Some(inotify) => inotify.add_watch(&self.folder, events).map_err(|errno| errno.desc()),
            None => Err("the kernel has no watch to spare"),
        };
        self.problem = match watched {
            Err(reason) => Some(format!("cannot watch {path}: {reason}")),
            Ok(_) if !self.folder.join(LOG).is_file() => Some(format!("there is no {path}/{LOG}")),
            Ok(_) => None,
        };
        if self.problem.is_none() && !std::mem::replace(&mut self.begun, true) {
            self.wal.read(&self.folder.join(LOG), &|_| false);
        }
    }

    /// Why the log does not show the writes of other nodes.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// When events are to be read; `None` if there are none.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// There are events: they are read a moment later, with those that follow them.
    pub fn note(&mut self) {
        self.due.get_or_insert_with(|| self.rest.max(Instant::now() + TRANSACTION));
    }

    /// Reads what has happened; whether it may matter.
    pub fn read(&mut self, matters: impl Fn(&str) -> bool) -> bool {
        self.due = None;
        let collected = self.collecting.take().is_some();
        let postponed = std::mem::take(&mut self.postponed);
        let written = self.read_new(&matters).is_some();
        if written {
            self.rest = Instant::now() + PAUSE;
        }
        written | collected | postponed
    }

    /// The same when events are due; but a write in place is reported a moment later, together with what follows it.
    pub fn read_due(&mut self, matters: impl Fn(&str) -> bool) -> bool {
        let now = Instant::now();
        if self.postponed || self.collecting.is_some_and(|since| now >= since + COLLECT) {
            return self.read(matters);
        }
        self.due = None;
        match self.read_new(&matters) {
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

    /// How files that matter were written since this was last called: renamed if one of them was, in doubt in place. `None`
    /// if none was written.
    fn read_new(&mut self, matters: &impl Fn(&str) -> bool) -> Option<Write> {
        let now = Instant::now();
        self.named.retain(|_, (_, since)| now - *since < KNOWN);
        self.unknown = self.unknown.filter(|since| now - *since < KNOWN);
        if !self.take_events() {
            return None;
        }
        match self.wal.read(&self.folder.join(LOG), matters) {
            WalChange::Named(files) => {
                let files: Vec<_> = files.into_iter().filter(|(name, _)| matters(name)).collect();
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

    /// What was read is to be reported when the next look is due.
    pub fn postpone(&mut self) {
        self.postponed = true;
        self.due = Some(self.rest);
    }

    /// Takes the events that wait; whether one is of the log.
    fn take_events(&mut self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut any = false;
        while let Ok(events) = inotify.read_events() {
            let of_log = |event: &InotifyEvent| event.name.as_deref().is_none_or(|name| name == LOG);
            any |= events.iter().any(of_log);
        }
        any
    }

    /// The files that it named since then, each with its last write; `None` if it may have missed any.
    #[must_use]
    pub fn named_since(&self, then: Option<Instant>) -> Option<BTreeMap<&str, Write>> {
        let then = then?;
        if self.unknown.is_some_and(|unknown| unknown >= then) {
            return None;
        }
        let named = self.named.iter().filter(|(_, (_, since))| *since >= then);
        Some(named.map(|(name, (write, _))| (name.as_str(), *write)).collect())
    }

    /// Whether it named a file since a while, or may have.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.unknown.is_some() || self.named.contains_key(name)
    }

    /// Whether it named any file since a while, or may have.
    #[must_use]
    pub fn knows_any(&self) -> bool {
        self.unknown.is_some() || !self.named.is_empty()
    }

    /// How a file that the log named just now was written.
    #[must_use]
    pub fn recent(&self, name: &str) -> Option<Write> {
        self.named.get(name).filter(|(_, since)| since.elapsed() < RECENT).map(|(write, _)| *write)
    }

    /// Becomes readable when something happens in the folder.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}
