//! Watches the tree for writes by processes of this node, with inotify(7).
use super::snapshot::Writing;
use super::tree_listing::is_relevant;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a file counts as just closed. Later, another node may have begun to write it.
const RECENT: Duration = Duration::from_secs(1);

/// Reports writes, and which files are complete.
#[derive(Debug)]
pub struct TreeWatch {
    inotify: Inotify,
    root: PathBuf,
    /// The watched directories, by their path below the root, empty for the root itself.
    directories: HashMap<WatchDescriptor, String>,
    /// The files that have been written, by path relative to the root: when the writer closed them or renamed them to this
    /// name; `None` if the last event was a different one.
    written: BTreeMap<String, Option<Instant>>,
    /// The files named by events since the last [`TreeWatch::take_touched`].
    touched: BTreeSet<String>,
    /// Whether events were dropped since then, so that any file may have been written.
    overflowed: bool,
}

impl TreeWatch {
    /// A value without watches; `None` if the kernel has no inotify instance left: then only regular reads detect changes.
    #[must_use]
    pub fn new(root: &Path) -> Option<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
        let (directories, written, touched) = Default::default();
        Some(TreeWatch { inotify, root: root.into(), directories, written, touched, overflowed: false })
    }

    /// Watches these directories. An existing watch is kept; after a mount, or for a new directory, it is added.
    ///
    /// False if an existing one cannot be watched.
    pub fn add(&mut self, directories: impl IntoIterator<Item = String>) -> bool {
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_ONLYDIR;
        let mut all = true;
        for directory in directories {
            let path = self.root.join(&directory);
            match self.inotify.add_watch(&path, events) {
                Ok(watch) => drop(self.directories.insert(watch, directory)),
                Err(_) => all &= !path.exists(),
            }
        }
        all
    }

    /// Reads the pending events. Returns whether one of them is relevant.
    pub fn read(&mut self) -> bool {
        let mut any = false;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                any |= self.take(&event);
            }
        }
        any
    }

    fn take(&mut self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.written.clear();
            self.overflowed = true;
        }
        let name = event.name.as_ref().and_then(|name| name.to_str());
        let path = self.directories.get(&event.wd).zip(name).map(|(directory, name)| match directory.is_empty() {
            true => name.to_string(),
            false => format!("{directory}/{name}"),
        });
        let Some(path) = path.filter(|_| !event.mask.contains(AddWatchFlags::IN_ISDIR)) else { return true };
        if !is_relevant(&path) {
            return false;
        }
        if event.mask.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO)
            || event.mask.contains(AddWatchFlags::IN_CREATE) && self.is_link(&path)
        {
            self.written.insert(path.clone(), Some(Instant::now()));
        } else if event.mask.intersects(AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE) {
            self.written.insert(path.clone(), None);
        } else if event.mask.intersects(AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM) {
            self.written.remove(&path);
        }
        self.touched.insert(path);
        true
    }

    /// Hard and symbolic links are created in one step, and no close event follows.
    fn is_link(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root.join(path)).is_ok_and(|meta| !meta.is_file() || meta.nlink() > 1)
    }

    /// Whether the file may be in the middle of a write, according to its last event.
    #[must_use]
    pub fn writing(&self, path: &str) -> Option<Writing> {
        match self.written.get(path)? {
            None => Some(Writing::Open),
            Some(closed) => (closed.elapsed() < RECENT).then_some(Writing::Closed),
        }
    }

    /// The files named by events since the last call; `None` if events were dropped.
    pub fn take_touched(&mut self) -> Option<BTreeSet<String>> {
        let touched = std::mem::take(&mut self.touched);
        (!std::mem::take(&mut self.overflowed)).then_some(touched)
    }
}

impl AsFd for TreeWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
