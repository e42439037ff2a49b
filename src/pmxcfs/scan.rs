//! Reads the configuration tree once. Runs in the worker process, because any of its system calls can block forever.
//!
//! No file stays open after a read: an open file, directory or working directory below `/etc/pve` would prevent pmxcfs from
//! starting again after a crash.
use super::listing::{Entry, Listing, folders};
use super::read_file::{Look, Resting, Stat, look};
use super::snapshot::{Place, Scan, Seen, Sight};
use crate::node::check_vmlist;
use crate::parallel;
use crate::paths::{VMLIST, node_folder};
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

/// Reads a tree repeatedly.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    node: String,
    /// The names found by the last read: a missing one is looked up again.
    expected: BTreeSet<Arc<str>>,
    /// The unmodified files of the last read.
    resting: BTreeMap<Arc<str>, Resting>,
    /// The last read, if all its files were unmodified.
    still: Option<Still>,
}

/// The file systems on which files with an unchanged `stat` are not read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Local file systems.
    Local,
    /// All file systems, even if `stat` can be late: for a read between full reads.
    Everywhere,
}

/// A read of an unmodified tree: while the `stat` of every directory and file is unchanged, another read gives the same
/// result.
#[derive(Debug)]
struct Still {
    folders: Vec<(PathBuf, Stat)>,
    scan: Arc<Scan>,
}

impl Scanner {
    /// A reader of the tree at `root` for one node.
    #[must_use]
    pub fn new(root: PathBuf, node: String) -> Self {
        Scanner { root, node, expected: BTreeSet::new(), resting: BTreeMap::new(), still: None }
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directories to watch for local writes, relative to the root.
    #[must_use]
    pub fn folders(&self) -> Vec<String> {
        folders(&self.node)
    }

    /// A number that changes when the name, size, inode or times of a file change. Reads no content.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self.list() {
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

    /// Makes the next read cover all content.
    pub fn forget(&mut self) {
        self.resting.clear();
        self.still = None;
    }

    /// Reads the tree. All content is read, except that of files trusted to be unchanged.
    pub fn read(&mut self, trust: Trust) -> Arc<Scan> {
        if let Some(still) = self.still.as_ref().filter(|still| self.is_as_in(still)) {
            return still.scan.clone();
        }
        let folders = self.folders_at_rest();
        let mut scan = Scan::default();
        if let Err(reason) = self.read_into(&mut scan, trust) {
            scan.place.ill = Some(reason);
        }
        let scan = Arc::new(scan);
        let folders = folders.filter(|_| scan.place.watched && scan.place.ill.is_none() && self.all_rest(&scan));
        self.still = folders.map(|folders| Still { folders, scan: scan.clone() });
        scan
    }

    fn is_as_in(&self, still: &Still) -> bool {
        let same = |path: &Path, stat: &Stat| Stat::of(path).is_ok_and(|now| now == *stat);
        still.folders.iter().all(|(path, stat)| same(path, stat))
            && self.resting.iter().all(|(path, resting)| same(&self.root.join(&**path), &resting.stat))
    }

    /// Whether all files of the last read were unmodified.
    fn all_rest(&self, scan: &Scan) -> bool {
        scan.files.iter().all(|(path, sight)| match &sight.seen {
            Seen::Absent => true,
            Seen::Content(_) => self.resting.contains_key(path),
            Seen::Failed(_) => false,
        })
    }

    /// The existing directories, if none of them has been modified for a while.
    fn folders_at_rest(&self) -> Option<Vec<(PathBuf, Stat)>> {
        let mut folders = Vec::new();
        for path in self.folders().iter().map(|folder| self.root.join(folder)) {
            match Stat::of(&path) {
                Ok(stat) if stat.is_at_rest() => folders.push((path, stat)),
                // creating it changes its parent
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                _ => return None,
            }
        }
        Some(folders)
    }

    fn read_into(&mut self, scan: &mut Scan, trust: Trust) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", self.root.display());
        scan.place.device = fs::metadata(&self.root).map_err(|error| cannot(&error))?.dev();
        let kind = statfs(&self.root).map_err(|errno| cannot(&errno))?.filesystem_type();
        scan.place.fuse = kind == FUSE_SUPER_MAGIC;
        scan.place.watched = LOCAL.contains(&kind);
        if !scan.place.watched && trust == Trust::Local {
            self.forget();
        }
        let listing = self.list()?;
        let vanished = self.expected.iter().filter(|path| !listing.files.contains_key(*path));
        let vanished = vanished.map(|path| (path, Entry::Unlisted));
        let wanted: Vec<_> = listing.files.iter().map(|(path, entry)| (path, *entry)).chain(vanished).collect();
        let looks = parallel::map(&wanted, THREADS, |(path, entry)| self.look(path, *entry, &scan.place));
        let mut hasher = DefaultHasher::new();
        let (mut missing, mut found, mut resting) = (BTreeSet::new(), Vec::new(), Vec::new());
        for (number, ((path, _), look)) in wanted.into_iter().zip(looks).enumerate() {
            if number < listing.files.len() {
                (path, look.stat).hash(&mut hasher);
            }
            resting.extend(look.resting.map(|resting| (path.clone(), resting)));
            match look.sight {
                Some(sight) => found.push((path.clone(), sight)),
                None => drop(missing.insert(path.clone())),
            }
        }
        scan.files = found.into_iter().collect();
        self.resting = resting.into_iter().collect();
        scan.place.fingerprint = hasher.finish();
        self.look_again(&listing, missing, scan)?;
        let present = scan.files.iter().filter(|(_, sight)| sight.seen != Seen::Absent);
        self.expected = present.map(|(path, _)| path.clone()).collect();
        self.evidence(&listing, scan)
    }

    /// Determines which of the files that could not be opened are absent.
    fn look_again(&self, listing: &Listing, mut missing: BTreeSet<Arc<str>>, scan: &mut Scan) -> Result<(), String> {
        let absent = || Sight::without_content(Seen::Absent);
        let doubtful = |path: &Arc<str>| listing.lists(path) || self.expected.contains(path);
        missing.retain(|path| doubtful(path) || scan.files.insert(path.clone(), absent()).is_some());
        for pause in RETRIES_MS {
            if missing.is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(pause));
            missing.retain(|path| match self.look(path, Entry::Other, &scan.place).sight {
                Some(sight) => scan.files.insert(path.clone(), sight).is_some(),
                None => true,
            });
        }
        let now = self.list()?;
        for path in missing {
            let sight = if now.lists(&path) {
                Sight::without_content(Seen::Failed("it is listed, but does not exist".into()))
            } else {
                absent()
            };
            scan.files.insert(path, sight);
        }
        Ok(())
    }

    /// "Disabled" and "no guests" are accepted only from a tree that is known to be healthy.
    fn evidence(&self, listing: &Listing, scan: &Scan) -> Result<(), String> {
        let root = self.root.display();
        match scan.files.get(VMLIST).map(|sight| &sight.seen) {
            Some(Seen::Content(content)) => check_vmlist(content).map_err(|error| format!("{root}/{VMLIST} {error}")),
            Some(Seen::Failed(reason)) => Err(format!("cannot read {root}/{VMLIST}: {reason}")),
            _ if scan.place.fuse => Err(format!("{root}/{VMLIST} is missing; is pve-cluster running?")),
            _ if listing.node_folder => Ok(()),
            _ => Err(format!(
                "{root} contains neither {VMLIST} nor {}; is pve-cluster running, and is that the node's name?",
                node_folder(&self.node)
            )),
        }
    }

    fn list(&self) -> Result<Listing, String> {
        Listing::of(&self.root, &self.node)
    }

    fn look(&self, path: &str, entry: Entry, place: &Place) -> Look {
        look(&self.root.join(path), place, entry, self.resting.get(path))
    }
}
