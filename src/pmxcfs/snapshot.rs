//! The result of reading the tree once, and its encoding for the parent process: only changes since the previous read.
use crate::inputs::Content;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The result of reading a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileResult {
    /// The content.
    Content(Content),
    /// Absent according to repeated attempts to open it and to the listing of its directory.
    Absent,
    /// It exists but cannot be read, with the reason.
    Failed(String),
}

/// Whether a file may be in the middle of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Writing {
    /// Unknown.
    Unknown,
    /// A process of this node has written to it and not closed it since.
    Open,
    /// The log of pmxcfs shows that it was written, but not in which way.
    Logged,
    /// The log of pmxcfs shows that a file under another name was renamed to this one, as PVE's programs write files.
    Renamed,
    /// Its writer, a process of this node, has just closed it or renamed it to this name.
    Closed,
    /// Its modification time is long enough ago.
    Unmodified,
}

/// A file in a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// The result.
    pub result: FileResult,
    /// Whether it may be partly written.
    pub writing: Writing,
}

impl FileState {
    /// A file that is absent or cannot be read.
    #[must_use]
    pub fn without_content(result: FileResult) -> Self {
        FileState { result, writing: Writing::Unknown }
    }
}

/// The state of the tree as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeState {
    /// Why the tree is unhealthy; `None` if it is known to be healthy.
    pub unhealthy: Option<String>,
    /// Whether the tree is a FUSE mount, as pmxcfs is.
    pub fuse: bool,
    /// `st_dev` of the tree's root.
    pub device: u64,
    /// The fingerprint of the tree, computed before reading the files.
    pub fingerprint: u64,
    /// Whether every further change causes an event: the tree is on a local file system, and all its directories are watched.
    pub watched: bool,
    /// Whether the log of pmxcfs shows the writes of other nodes.
    pub log: LogState,
}

/// Whether the log of pmxcfs shows the writes of other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogState {
    /// It is not watched.
    #[default]
    None,
    /// It shows every write.
    Followed,
    /// It cannot be watched, or did not show a change, with the reason.
    Failed(String),
}

/// The result of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The tree as a whole.
    pub place: TreeState,
    /// The files by path relative to the root: those listed, those always looked up, and those of the previous read.
    pub files: BTreeMap<Arc<str>, FileState>,
}

/// The changes of a read compared with the previous one.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScanDelta {
    place: TreeState,
    changed: Vec<(Arc<str>, FileState)>,
    gone: Vec<Arc<str>>,
}

impl ScanDelta {
    /// The changes from `before` to `now`.
    #[must_use]
    pub fn between(before: &Scan, now: &Scan) -> Self {
        let mut delta = ScanDelta { place: now.place.clone(), changed: Vec::new(), gone: Vec::new() };
        if !std::ptr::eq(before, now) {
            let changed = now.files.iter().filter(|(path, state)| before.files.get(*path) != Some(state));
            delta.changed.extend(changed.map(|(path, state)| (path.clone(), state.clone())));
            delta.gone.extend(before.files.keys().filter(|path| !now.files.contains_key(*path)).cloned());
        }
        delta
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self, before: &Scan) -> bool {
        self.place == before.place && self.changed.is_empty() && self.gone.is_empty()
    }
}

impl Scan {
    /// Applies the changes to a previous read.
    pub fn apply(&mut self, delta: ScanDelta) {
        self.place = delta.place;
        for path in delta.gone {
            self.files.remove(&path);
        }
        self.files.append(&mut delta.changed.into_iter().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scans() -> impl Strategy<Value = Scan> {
        let result = prop_oneof![
            Just(FileResult::Absent),
            Just(FileResult::Failed("EIO".into())),
            proptest::collection::vec(any::<u8>(), 0..3).prop_map(|content| FileResult::Content(content.into())),
        ];
        let writing =
            prop_oneof![Just(Writing::Unknown), Just(Writing::Open), Just(Writing::Closed), Just(Writing::Unmodified)];
        let state = (result, writing).prop_map(|(result, writing)| FileState { result, writing });
        proptest::collection::btree_map("[a-d]".prop_map(Arc::from), state, 0..4)
            .prop_map(|files| Scan { place: TreeState { device: files.len() as u64, ..TreeState::default() }, files })
    }

    proptest! {
        #[test]
        fn applying_changes_reproduces_the_read(before in scans(), now in scans()) {
            let delta = ScanDelta::between(&before, &now);
            let decoded: ScanDelta = postcard::from_bytes(&postcard::to_stdvec(&delta).unwrap()).unwrap();
            let mut scan = before;
            scan.apply(decoded);
            prop_assert_eq!(scan, now.clone());
            prop_assert!(ScanDelta::between(&now, &now).changed.is_empty());
        }
    }
}
