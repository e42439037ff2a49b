//! Reads the configuration tree once. Runs in the worker process, because any of its system calls can block forever.
//!
//! No file stays open after a read: an open file, directory or working directory below `/etc/pve` would prevent pmxcfs from
//! starting again after a crash.
use super::read_file::{KnownFile, ReadResult, Reuse, Stat, read_file};
use super::snapshot::{FileResult, FileState, Scan, TreeState, Writing};
use super::tree_listing::{EntryKind, TreeListing, directories};
use crate::model::guest::GuestDevice;
use crate::node::{check_vmlist, conf_files_elsewhere};
use crate::parallel;
use crate::paths::{MEMBERS, TreeFile, VMLIST, node_directory};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FUSE_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC,
    statfs,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// Number and interval (in milliseconds) of retries before ENOENT is accepted: during a rename the name is briefly missing.
const RETRIES_MS: [u64; 6] = [0, 1, 5, 20, 50, 100];
/// Number of threads: most of the time is spent in the kernel, where more than two threads would block each other.
const THREADS: usize = 2;
/// The magic number of OpenZFS, which is not in the kernel's headers.
const ZFS_SUPER_MAGIC: FsType = FsType(0x2fc1_2fc1);
/// The file systems with an exact `stat`, on which every change causes an inotify event.
const LOCAL: [FsType; 6] =
    [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, ZFS_SUPER_MAGIC];

/// The files that pmxcfs generates when they are read, so that their `stat` does not show changes.
const GENERATED_FILES: [&str; 2] = [VMLIST, MEMBERS];
/// Number of files that are compared by `stat` in each cycle although the log shows all writes, to detect a log that does not.
const SAMPLE: usize = 256;

/// Reads a tree repeatedly.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    node: String,
    /// The names found by the last read: a missing one is looked up again.
    expected: BTreeSet<Arc<str>>,
    /// The files of the last read.
    known: BTreeMap<Arc<str>, KnownFile>,
    /// The last listing of the directories.
    listing: TreeListing,
    /// The last read.
    last: Arc<Scan>,
    /// The last read, if no file had been modified recently.
    unmodified: Option<UnmodifiedTree>,
    /// The sample of the next cycle begins after this file.
    sampled: Arc<str>,
    /// The current paths of the configuration files of arriving guests, by their future paths on this node.
    elsewhere: BTreeMap<String, String>,
    /// The future paths of those whose current path has changed since the last read.
    moved: BTreeSet<String>,
}

/// The extent of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All content.
    Everything,
    /// The regular cycle: all content if writes are not reported by events, otherwise a sample.
    Cycle,
    /// Files that `stat` or events report as changed, for a read between cycles.
    Changes,
}

/// The parameters of a read.
#[derive(Debug)]
pub struct ScanRequest {
    /// Its extent.
    pub extent: Extent,
    /// Whether the log of pmxcfs shows every write.
    pub logged: bool,
    /// The files that were written since the last read, by name or by path relative to the root.
    pub written: BTreeSet<String>,
    /// Whether these are all files that were written.
    pub complete: bool,
    /// The guests' devices that exist.
    pub devices: BTreeSet<GuestDevice>,
}

/// A read of an unmodified tree: while the `stat` of every directory and file is unchanged, another read gives the same
/// result.
#[derive(Debug)]
struct UnmodifiedTree {
    directories: Vec<(PathBuf, Stat)>,
    devices: BTreeSet<GuestDevice>,
    scan: Arc<Scan>,
}

impl Scanner {
    /// A reader of the tree at `root` for one node.
    #[must_use]
    pub fn new(root: PathBuf, node: String) -> Self {
        let (expected, known, listing, last, sampled) = Default::default();
        let (elsewhere, moved) = Default::default();
        Scanner { root, node, expected, known, listing, last, unmodified: None, sampled, elsewhere, moved }
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directories to watch for local writes, relative to the root.
    #[must_use]
    pub fn directories(&self) -> Vec<String> {
        directories(&self.node)
    }

    /// A number that changes when the name, size, inode or times of a file change. Reads no content.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match TreeListing::of(&self.root, &self.node) {
            Ok(listing) => {
                for path in listing.files.keys() {
                    let stat = Stat::of(&self.root.join(&**path)).map_err(|error| error.raw_os_error());
                    (path, stat).hash(&mut hasher);
                }
            }
            Err(reason) => reason.hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Reads the tree.
    pub fn read(&mut self, request: &ScanRequest) -> Arc<Scan> {
        if request.extent == Extent::Everything {
            self.unmodified = None;
        }
        let untouched = request.complete && request.written.is_empty();
        let same = |unmodified: &&UnmodifiedTree| {
            untouched && unmodified.devices == request.devices && self.is_unchanged_since(unmodified)
        };
        if let Some(unmodified) = self.unmodified.as_ref().filter(same) {
            return unmodified.scan.clone();
        }
        let directories = self.unmodified_directories();
        let mut scan = Scan::default();
        if let Err(reason) = self.read_into(&mut scan, request) {
            scan.place.unhealthy = Some(reason);
        }
        let scan = Arc::new(scan);
        let directories =
            directories.filter(|_| scan.place.watched && scan.place.unhealthy.is_none() && self.all_unmodified(&scan));
        self.unmodified = directories.map(|directories| UnmodifiedTree {
            directories,
            devices: request.devices.clone(),
            scan: scan.clone(),
        });
        self.last = scan.clone();
        scan
    }

    fn is_unchanged_since(&self, unmodified: &UnmodifiedTree) -> bool {
        let same = |path: &Path, stat: &Stat| Stat::of(path).is_ok_and(|now| now == *stat);
        unmodified.directories.iter().all(|(path, stat)| same(path, stat))
            && self.known.iter().all(|(path, known)| same(&self.on_disk(path), &known.stat()))
    }

    /// Whether all files of the last read had not been modified recently.
    fn all_unmodified(&self, scan: &Scan) -> bool {
        scan.files.iter().all(|(path, state)| match &state.result {
            FileResult::Absent => true,
            FileResult::Content(_) => self.known.get(path).is_some_and(KnownFile::stat_is_reliable),
            FileResult::Failed(_) => false,
        })
    }

    /// The existing directories, if none of them has been modified recently.
    fn unmodified_directories(&self) -> Option<Vec<(PathBuf, Stat)>> {
        // this is used only for a file system of this node
        if !self.last.place.watched && !self.last.files.is_empty() {
            return None;
        }
        let mut directories = Vec::new();
        for path in self.directories().iter().map(|directory| self.root.join(directory)) {
            match Stat::of(&path) {
                Ok(stat) if stat.is_unmodified() => directories.push((path, stat)),
                // creating the directory changes its parent
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                _ => return None,
            }
        }
        Some(directories)
    }

    fn read_into(&mut self, scan: &mut Scan, request: &ScanRequest) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", self.root.display());
        scan.place.device = fs::metadata(&self.root).map_err(|error| cannot(&error))?.dev();
        let kind = statfs(&self.root).map_err(|errno| cannot(&errno))?.filesystem_type();
        scan.place.fuse = kind == FUSE_SUPER_MAGIC;
        scan.place.watched = LOCAL.contains(&kind);
        let continued = self.last.place.unhealthy.is_none() && self.last.place.device == scan.place.device;
        let only_named = request.extent == Extent::Changes
            && request.logged
            && request.complete
            && continued
            && !scan.place.watched
            && !self.listing.files.is_empty();
        match only_named {
            true => self.list_named(&request.written),
            false => self.listing = TreeListing::of(&self.root, &self.node)?,
        }
        let wanted = self.wanted(request, scan);
        let jobs = self.jobs(&wanted, request, only_named, scan.place.watched);
        let looks = parallel::map(&jobs, THREADS, |(path, entry, trust)| match trust {
            Some(trust) => Some(read_file(&self.on_disk(path), &scan.place, *entry, self.known.get(path), *trust)),
            None => None,
        });
        let mut hasher = DefaultHasher::new();
        let (mut missing, mut found, mut known) = (BTreeSet::new(), Vec::new(), Vec::new());
        for ((path, ..), look) in jobs.into_iter().zip(looks) {
            let Some(look) = look else {
                known.extend(self.known.get(&path).map(|known| (path.clone(), known.clone())));
                found.extend(self.last_state(&path).map(|state| (path, state)));
                continue;
            };
            if self.listing.files.contains_key(&path) {
                (&path, look.stat).hash(&mut hasher);
            }
            known.extend(look.known.map(|known| (path.clone(), known)));
            match look.state {
                Some(state) => found.push((path, state)),
                None => drop(missing.insert(path)),
            }
        }
        scan.files = found.into_iter().collect();
        self.known = known.into_iter().collect();
        scan.place.fingerprint = hasher.finish();
        self.retry_missing(missing, scan)?;
        let present = scan.files.iter().filter(|(_, state)| state.result != FileResult::Absent);
        self.expected = present.map(|(path, _)| path.clone()).collect();
        self.evidence(scan)
    }

    /// Adds files that were written and did not exist before.
    fn list_named(&mut self, named: &BTreeSet<String>) {
        for path in named.iter().flat_map(|name| candidates(name, &self.node)) {
            self.listing.files.entry(path.into()).or_insert(EntryKind::Unlisted);
        }
    }

    /// All files to read, each with its kind in the listing of its directory: listed files, files of the previous read, and the
    /// files of guests that have a device here while their file is still on another node.
    fn wanted(&mut self, request: &ScanRequest, scan: &Scan) -> BTreeMap<Arc<str>, EntryKind> {
        let mut wanted = self.listing.files.clone();
        let before = std::mem::take(&mut self.elsewhere);
        if !request.devices.is_empty() {
            let list = read_file(&self.root.join(VMLIST), &scan.place, EntryKind::Other, None, Reuse::Never);
            if let Some(FileResult::Content(list)) = list.state.map(|state| state.result) {
                self.elsewhere.extend(conf_files_elsewhere(&list, &self.node, &request.devices));
            }
        }
        let either = before.keys().chain(self.elsewhere.keys());
        self.moved = either.filter(|path| before.get(*path) != self.elsewhere.get(*path)).cloned().collect();
        let others = self.elsewhere.keys().map(|path| path.as_str().into()).chain(self.expected.iter().cloned());
        for path in others {
            wanted.entry(path).or_insert(EntryKind::Unlisted);
        }
        wanted
    }

    /// The path at which a file is read.
    fn on_disk(&self, path: &str) -> PathBuf {
        self.root.join(self.elsewhere.get(path).map_or(path, String::as_str))
    }

    /// How each file is read: `None` if it is unchanged since the last read.
    fn jobs(
        &mut self,
        wanted: &BTreeMap<Arc<str>, EntryKind>,
        request: &ScanRequest,
        only_named: bool,
        watched: bool,
    ) -> Vec<(Arc<str>, EntryKind, Option<Reuse>)> {
        let written = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            request.written.contains(path) || request.written.contains(name)
        };
        let sample = self.sample(wanted);
        let trust = |path: &Arc<str>| {
            if request.extent == Extent::Everything
                || GENERATED_FILES.contains(&&**path)
                || written(path)
                || self.moved.contains(&**path)
            {
                return Some(Reuse::Never);
            }
            if watched {
                return Some(Reuse::SameStat);
            }
            let known = self.known.get(path);
            match request.extent {
                Extent::Changes if only_named => match known {
                    Some(known) if known.is_fresh() => Some(Reuse::Never),
                    Some(_) => None,
                    None if self.last_state(path).is_some_and(|state| state.result == FileResult::Absent) => None,
                    None => Some(Reuse::Never),
                },
                Extent::Changes => Some(Reuse::SameFreshStat),
                Extent::Cycle
                    if request.logged && known.is_some_and(KnownFile::stat_is_reliable) && !sample.contains(path) =>
                {
                    None
                }
                Extent::Cycle if request.logged => Some(Reuse::SameStat),
                _ => Some(Reuse::Never),
            }
        };
        let jobs = wanted.iter().map(|(path, entry)| (path.clone(), *entry, trust(path)));
        let jobs = jobs.collect();
        if request.extent == Extent::Cycle {
            self.sampled = sample.last().cloned().unwrap_or_default();
        }
        jobs
    }

    /// The files that are compared in this cycle, in rotation.
    fn sample(&self, wanted: &BTreeMap<Arc<str>, EntryKind>) -> BTreeSet<Arc<str>> {
        let rest = wanted.keys().filter(|path| **path > self.sampled).take(SAMPLE).cloned();
        let sample: BTreeSet<Arc<str>> = rest.collect();
        if sample.is_empty() { wanted.keys().take(SAMPLE).cloned().collect() } else { sample }
    }

    /// The state of a file in the last read, without the information about its writer.
    fn last_state(&self, path: &str) -> Option<FileState> {
        let result = self.last.files.get(path)?.result.clone();
        Some(FileState { result, writing: Writing::Unknown })
    }

    /// Determines which of the files that could not be opened are absent.
    fn retry_missing(&self, mut missing: BTreeSet<Arc<str>>, scan: &mut Scan) -> Result<(), String> {
        let absent = || FileState::without_content(FileResult::Absent);
        let may_exist = |path: &Arc<str>| self.listing.lists(path) || self.expected.contains(path);
        missing.retain(|path| may_exist(path) || scan.files.insert(path.clone(), absent()).is_some());
        for pause in RETRIES_MS {
            if missing.is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(pause));
            missing.retain(|path| match self.read_one(path, &scan.place).state {
                Some(state) => scan.files.insert(path.clone(), state).is_some(),
                None => true,
            });
        }
        let now = TreeListing::of(&self.root, &self.node)?;
        for path in missing {
            let state = if now.lists(&path) {
                FileState::without_content(FileResult::Failed("it is listed, but does not exist".into()))
            } else {
                absent()
            };
            scan.files.insert(path, state);
        }
        Ok(())
    }

    /// An error unless the tree contains the files that pmxcfs always has: otherwise "disabled" and "no guests" may be wrong.
    fn evidence(&self, scan: &Scan) -> Result<(), String> {
        let root = self.root.display();
        match scan.files.get(VMLIST).map(|state| &state.result) {
            Some(FileResult::Content(content)) => {
                check_vmlist(content).map_err(|error| format!("{root}/{VMLIST} {error}"))
            }
            Some(FileResult::Failed(reason)) => Err(format!("cannot read {root}/{VMLIST}: {reason}")),
            _ if scan.place.fuse => Err(format!("{root}/{VMLIST} is missing; is pve-cluster running?")),
            _ if self.listing.node_directory => Ok(()),
            _ => Err(format!(
                "{root} contains neither {VMLIST} nor {}; is pve-cluster running, and is that the node's name?",
                node_directory(&self.node)
            )),
        }
    }

    fn read_one(&self, path: &str, place: &TreeState) -> ReadResult {
        read_file(&self.on_disk(path), place, EntryKind::Other, self.known.get(path), Reuse::Never)
    }
}

/// The relevant files that a path relative to the root, or a name without a directory, may refer to.
pub fn candidates(name: &str, node: &str) -> Vec<String> {
    let in_directory =
        |directory: String| if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") };
    let paths: Vec<String> = match name.contains('/') {
        true => vec![name.to_string()],
        false => directories(node).into_iter().map(in_directory).collect(),
    };
    paths.into_iter().filter(|path| TreeFile::parse(path).is_some_and(|file| file.is_needed_on(node))).collect()
}
