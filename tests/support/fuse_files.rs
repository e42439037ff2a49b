//! The files of the file system that replaces pmxcfs, and the injected failures.
#[path = "cluster_log.rs"]
mod cluster_log;

pub use cluster_log::ClusterLog;

use fuser::{FileAttr, FileType, INodeNo};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// The files and the injected failures.
#[derive(Default)]
pub struct State {
    /// The files by their path below the root.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that fail on read.
    pub unreadable: BTreeSet<String>,
    /// Files that fail on open.
    pub forbidden: BTreeSet<String>,
    /// How many lookups of a file fail with ENOENT before one succeeds, as during renames.
    pub failing_lookups: u32,
    pub(super) lookups: BTreeMap<String, u32>,
    /// Whether all requests hang.
    pub(super) hanging: bool,
    pub(super) numbers: BTreeMap<String, INodeNo>,
    pub(super) paths: Vec<String>,
    /// When files were modified, by the clock of their writer, in seconds since 1970.
    pub(super) times: BTreeMap<String, u64>,
    /// Where changes are logged.
    pub(super) log: Option<ClusterLog>,
    /// How many requests were answered.
    pub requests: u64,
    /// How often each file was opened.
    pub opened: BTreeMap<String, u64>,
}

/// How long the kernel keeps attributes and names.
pub(super) const CACHE_TIME: Duration = Duration::from_secs(1);
/// The time of the initial files, in seconds since 1970.
const INITIAL_TIME: u64 = 1_700_000_000;

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

impl State {
    /// Writes a file in place, as a process of another node does in one call. The clock of that node is right.
    pub fn put(&mut self, path: &str, content: &str) {
        self.put_at(path, content, now());
    }

    /// The same, with this time on the clock of that node.
    pub fn put_at(&mut self, path: &str, content: &str, time: u64) {
        self.log(|log| log.written(path));
        self.files.insert(path.to_string(), content.as_bytes().to_vec());
        self.times.insert(path.to_string(), time);
    }

    /// Replaces a file as PVE's programs on another node do: a new file is renamed to its name.
    pub fn replace(&mut self, path: &str, content: &str) {
        let new = format!("{path}.tmp.4711");
        self.log(|log| log.written(&new));
        self.log(|log| log.written(&new));
        self.log(|log| log.renamed(&new, path));
        self.files.insert(path.to_string(), content.as_bytes().to_vec());
        self.times.insert(path.to_string(), now());
    }

    /// Moves a guest's file from one node to another and changes the list of guests, as a migration does.
    pub fn migrate(&mut self, from: &str, to: &str, vmlist: &str) {
        self.log(|log| log.renamed(from, to));
        let content = self.files.remove(from).expect("the guest's file");
        self.files.insert(to.to_string(), content);
        self.files.insert(".vmlist".to_string(), vmlist.as_bytes().to_vec());
    }

    /// Removes a file, as another node does.
    pub fn remove(&mut self, path: &str) {
        self.log(|log| log.removed(path));
        self.files.remove(path);
    }

    pub(super) fn log(&mut self, change: impl FnOnce(&mut ClusterLog)) {
        if let Some(log) = &mut self.log {
            change(log);
        }
    }

    /// From now on nothing is written to the log.
    pub fn stop_logging(&mut self) {
        self.log = None;
    }

    pub(super) fn number(&mut self, path: &str) -> INodeNo {
        if let Some(known) = self.numbers.get(path) {
            return *known;
        }
        self.paths.push(path.to_string());
        let number = INodeNo(self.paths.len() as u64);
        self.numbers.insert(path.to_string(), number);
        number
    }

    pub(super) fn path(&self, number: INodeNo) -> String {
        self.paths[usize::try_from(number.0 - 1).unwrap()].clone()
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        let below = format!("{path}/");
        path.is_empty() || self.files.range(below.clone()..).next().is_some_and(|(file, _)| file.starts_with(&below))
    }

    pub(super) fn attributes(&mut self, path: &str) -> Option<FileAttr> {
        let kind = match self.is_directory(path) {
            true => FileType::Directory,
            false => FileType::RegularFile,
        };
        let size = match kind {
            FileType::Directory => 0,
            _ => self.files.get(path)?.len() as u64,
        };
        let has_no_time = path.starts_with('.');
        let time = if has_no_time { 0 } else { self.times.get(path).copied().unwrap_or(INITIAL_TIME) };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
        Some(FileAttr {
            ino: self.number(path),
            size,
            blocks: 1,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// Whether this lookup has to fail.
    pub(super) fn fails_lookup(&mut self, path: &str) -> bool {
        let lookups = self.lookups.entry(path.to_string()).or_default();
        *lookups = (*lookups + 1) % (self.failing_lookups + 1);
        *lookups != 0
    }
}
