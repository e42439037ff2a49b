//! Watches the tree for writes by processes of this node, with inotify(7).
use super::listing::matters;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Reports writes, and completely written files.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    /// The watched directories, relative to the root, empty for the root itself.
    folders: HashMap<WatchDescriptor, String>,
    /// The files whose last event was a close after writing, or a rename into place.
    closed: BTreeSet<String>,
}

impl Watch {
    /// Without watches yet; `None` if the kernel has no inotify instance left: then only regular reads detect changes.
    #[must_use]
    pub fn new() -> Option<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
        Some(Watch { inotify, folders: HashMap::new(), closed: BTreeSet::new() })
    }

    /// Watches these directories. An existing watch is kept; after a mount, or for a new directory, it is added.
    ///
    /// False if an existing directory cannot be watched.
    pub fn add(&mut self, root: &Path, folders: impl IntoIterator<Item = String>) -> bool {
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_ONLYDIR;
        let mut all = true;
        for folder in folders {
            let path = root.join(&folder);
            match self.inotify.add_watch(&path, events) {
                Ok(watch) => drop(self.folders.insert(watch, folder)),
                Err(_) => all &= !path.exists(),
            }
        }
        all
    }

    /// Processes the queued events; returns whether one is relevant.
    pub fn hear(&mut self) -> bool {
        let complete = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        let harmless = AddWatchFlags::IN_ATTRIB;
        let mut any = false;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    self.closed.clear();
                }
                let name = event.name.as_ref().and_then(|name| name.to_str());
                let path = self.folders.get(&event.wd).zip(name).map(|(folder, name)| match folder.is_empty() {
                    true => name.to_string(),
                    false => format!("{folder}/{name}"),
                });
                let Some(path) = path.filter(|_| !event.mask.contains(AddWatchFlags::IN_ISDIR)) else {
                    any = true;
                    continue;
                };
                if !matters(&path) {
                    continue;
                }
                any = true;
                if event.mask.intersects(complete) {
                    self.closed.insert(path);
                } else if !event.mask.intersects(harmless) {
                    self.closed.remove(&path);
                }
            }
        }
        any
    }

    /// Whether the last event of a file means that it is completely written.
    #[must_use]
    pub fn is_closed(&self, path: &str) -> bool {
        self.closed.contains(path)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
