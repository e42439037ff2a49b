//! One pass over the configuration tree. Runs in the worker process, since any of its system calls may block for ever.
//!
//! Nothing stays open after a pass: an open file, directory or working directory below `/etc/pve` would stop pmxcfs
//! from starting again after a crash.
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

/// ENOENT is believed after this many more tries, so many milliseconds apart: a rename makes a name vanish for moments.
const RETRIES_MS: [u64; 6] = [0, 1, 5, 20, 50, 100];
/// Most of the time is spent in the kernel: a second thread pays, more would get into each other's way.
const THREADS: usize = 2;
/// OpenZFS, which the kernel's headers do not have.
const ZFS_SUPER_MAGIC: FsType = FsType(0x2fc1_2fc1);
/// The file systems whose `stat` is exact and whose changes this kernel makes, each of which it tells a watch.
const LOCAL: [FsType; 6] =
    [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, ZFS_SUPER_MAGIC];

/// Reads a tree, pass by pass.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    node: String,
    /// What the pass before found: a name that vanishes is looked for again.
    expected: BTreeSet<Arc<str>>,
    /// The files that the last pass found at rest.
    resting: BTreeMap<Arc<str>, Resting>,
    /// The last pass, if all that it found was at rest.
    still: Option<Still>,
}

/// Where files that were at rest, and show the same `stat`, are not read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// On file systems of this node.
    Local,
    /// Everywhere, also where `stat` may be late: for a pass between those that read everything.
    Everywhere,
}

/// A pass over a tree at rest: for as long as the `stat` of every folder, and of every file, is the same, another would find
/// the same.
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

    /// Where the tree is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folders to watch for local writes, by their path below the root.
    #[must_use]
    pub fn folders(&self) -> Vec<String> {
        folders(&self.node)
    }

    /// A number that changes when a file's name, size, inode or times do. Reads no content.
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

    /// Makes the next pass read all content anew.
    pub fn forget(&mut self) {
        self.resting.clear();
        self.still = None;
    }

    /// Makes a pass. All content is read anew, but for what is trusted to be as it was.
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

    /// Whether all files that the last pass found were at rest.
    fn all_rest(&self, scan: &Scan) -> bool {
        scan.files.iter().all(|(path, sight)| match &sight.seen {
            Seen::Absent => true,
            Seen::Content(_) => self.resting.contains_key(path),
            Seen::Failed(_) => false,
        })
    }

    /// The folders that are there, if nothing has come or gone in any of them for a while.
    fn folders_at_rest(&self) -> Option<Vec<(PathBuf, Stat)>> {
        let mut folders = Vec::new();
        for path in self.folders().iter().map(|folder| self.root.join(folder)) {
            match Stat::of(&path) {
                Ok(stat) if stat.is_at_rest() => folders.push((path, stat)),
                // that it comes shows in its parent
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

    /// Settles which of the files that could not be opened are absent.
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
                Sight::without_content(Seen::Failed("it is listed, but there is nothing to open".into()))
            } else {
                absent()
            };
            scan.files.insert(path, sight);
        }
        Ok(())
    }

    /// "Disabled" and "no guests" are believed only of a tree that shows a sign of life.
    fn evidence(&self, listing: &Listing, scan: &Scan) -> Result<(), String> {
        let root = self.root.display();
        match scan.files.get(VMLIST).map(|sight| &sight.seen) {
            Some(Seen::Content(content)) => check_vmlist(content).map_err(|error| format!("{root}/{VMLIST} {error}")),
            Some(Seen::Failed(reason)) => Err(format!("cannot read {root}/{VMLIST}: {reason}")),
            _ if scan.place.fuse => Err(format!("{root}/{VMLIST} is missing; is pve-cluster running?")),
            _ if listing.node_folder => Ok(()),
            _ => Err(format!(
                "{root} holds neither {VMLIST} nor {}; is pve-cluster running, and is that the node's name?",
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
