//! One pass over the configuration tree. Runs in the worker process, since any of its system calls may block for ever.
//!
//! Nothing stays open after a pass: an open file, directory or working directory below `/etc/pve` would stop pmxcfs
//! from starting again after a crash.
use super::look::{Look, Stat, look};
use super::sights::{Place, Scan, Seen, Sight};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FUSE_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC,
    statfs,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;

/// ENOENT is believed after this many more tries, so many milliseconds apart: a rename makes a name vanish for moments.
const RETRIES_MS: [u64; 6] = [0, 1, 5, 20, 50, 100];
/// So many files are worth a second thread.
const MANY: usize = 200;
/// OpenZFS, which the kernel's headers do not have.
const ZFS_SUPER_MAGIC: FsType = FsType(0x2fc1_2fc1);
/// The file systems whose `stat` is exact and whose changes this kernel makes, each of which it tells a watch.
const LOCAL: [FsType; 6] =
    [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, ZFS_SUPER_MAGIC];

/// The files that are always looked for, listed or not, and without whose content nothing is certain about any rule.
#[must_use]
pub fn fixed(node: &str) -> [String; 5] {
    [".vmlist".into(), ".members".into(), "corosync.conf".into(), "firewall/cluster.fw".into(), host_file(node)]
}

fn host_file(node: &str) -> String {
    format!("nodes/{node}/host.fw")
}

/// Reads a tree, pass by pass.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    node: String,
    /// What the pass before found: a name that vanishes is looked for again.
    expected: BTreeSet<String>,
    /// The content of the files that were at rest when they were read.
    resting: BTreeMap<String, (Stat, Arc<[u8]>)>,
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

/// A pass over a tree at rest: for as long as every `stat` is the same, another would find the same.
#[derive(Debug)]
struct Still {
    stats: Vec<(PathBuf, Stat)>,
    scan: Arc<Scan>,
}

impl Still {
    fn holds(&self) -> bool {
        self.stats.iter().all(|(path, stat)| Stat::of(path).is_ok_and(|now| now == *stat))
    }
}

/// The names in the folders of interest.
#[derive(Default)]
struct Listing {
    files: BTreeSet<String>,
    node_folder: bool,
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
        let node = format!("nodes/{}", self.node);
        let (machines, containers) = (format!("{node}/qemu-server"), format!("{node}/lxc"));
        let known = ["", "firewall", "sdn", "sdn/firewall", "nodes"].map(str::to_string);
        known.into_iter().chain([node, machines, containers]).collect()
    }

    /// A number that changes when a file's name, size, inode or times do. Reads no content.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self.list() {
            Ok(listing) => {
                for path in self.of_interest(&listing) {
                    let stat = Stat::of(&self.root.join(&path)).map_err(|error| error.raw_os_error());
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
        if let Some(still) = self.still.as_ref().filter(|still| still.holds()) {
            return still.scan.clone();
        }
        let folders = self.folders_at_rest();
        let mut scan = Scan::default();
        if let Err(reason) = self.read_into(&mut scan, trust) {
            scan.place.ill = Some(reason);
        }
        let scan = Arc::new(scan);
        self.still = folders.and_then(|folders| self.still(folders, &scan));
        scan
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

    fn still(&self, mut stats: Vec<(PathBuf, Stat)>, scan: &Arc<Scan>) -> Option<Still> {
        if !scan.place.watched || scan.place.ill.is_some() {
            return None;
        }
        for (path, sight) in &scan.files {
            match (&sight.seen, self.resting.get(path)) {
                (Seen::Absent, _) => {}
                (Seen::Content(_), Some((stat, _))) => stats.push((self.root.join(path), *stat)),
                _ => return None,
            }
        }
        Some(Still { stats, scan: scan.clone() })
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
        let of_interest = self.of_interest(&listing);
        let wanted: Vec<&String> = of_interest.union(&self.expected).collect();
        let looks = self.look_at(&wanted, &scan.place);
        let mut hasher = DefaultHasher::new();
        let mut missing = BTreeSet::new();
        let mut resting = Vec::new();
        for (path, look) in wanted.into_iter().zip(looks) {
            if of_interest.contains(path) {
                (path, look.stat).hash(&mut hasher);
            }
            resting.extend(look.resting.map(|resting| (path.clone(), resting)));
            match look.sight {
                Some(sight) => drop(scan.files.insert(path.clone(), sight)),
                None => drop(missing.insert(path.clone())),
            }
        }
        self.resting.extend(resting);
        scan.place.fingerprint = hasher.finish();
        self.look_again(&listing, missing, scan)?;
        self.expected =
            scan.files.iter().filter(|(_, sight)| sight.seen != Seen::Absent).map(|(path, _)| path.clone()).collect();
        self.resting.retain(|path, _| scan.files.contains_key(path));
        self.evidence(&listing, scan)
    }

    /// Settles which of the files that could not be opened are absent.
    fn look_again(&self, listing: &Listing, mut missing: BTreeSet<String>, scan: &mut Scan) -> Result<(), String> {
        let absent = || Sight::without_content(Seen::Absent);
        let doubtful = |path: &String| listing.files.contains(path) || self.expected.contains(path);
        missing.retain(|path| doubtful(path) || scan.files.insert(path.clone(), absent()).is_some());
        for pause in RETRIES_MS {
            if missing.is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(pause));
            missing.retain(|path| match self.look(path, &scan.place).sight {
                Some(sight) => scan.files.insert(path.clone(), sight).is_some(),
                None => true,
            });
        }
        let now = self.list()?;
        for path in missing {
            let sight = if now.files.contains(&path) {
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
        match scan.files.get(".vmlist").map(|sight| &sight.seen) {
            Some(Seen::Content(content)) => match serde_json::from_slice::<VmList>(content) {
                Ok(_) => Ok(()),
                Err(error) if error.is_data() => Err(format!("{root}/.vmlist does not list guests ('ids' is missing)")),
                Err(_) => Err(format!("{root}/.vmlist is no complete JSON text")),
            },
            Some(Seen::Failed(reason)) => Err(format!("cannot read {root}/.vmlist: {reason}")),
            _ if scan.place.fuse => Err(format!("{root}/.vmlist is missing; is pve-cluster running?")),
            _ if listing.node_folder => Ok(()),
            _ => Err(format!(
                "{root} holds neither .vmlist nor nodes/{}; is pve-cluster running, and is that the node's name?",
                self.node
            )),
        }
    }

    /// The files of interest by the listings of their folders.
    fn list(&self) -> Result<Listing, String> {
        let mut listing = Listing::default();
        let root = self.names("")?;
        let keep = |folder: &str, names: BTreeSet<String>, wanted: fn(&str) -> bool, files: &mut BTreeSet<String>| {
            files.extend(names.into_iter().filter(|name| wanted(name)).map(|name| format!("{folder}/{name}")));
        };
        listing.files.extend(fixed(&self.node).into_iter().filter(|path| root.contains(path)));
        if root.contains("firewall") {
            keep("firewall", self.names("firewall")?, is_firewall_file, &mut listing.files);
        }
        if root.contains("sdn") && self.names("sdn")?.contains("firewall") {
            keep("sdn/firewall", self.names("sdn/firewall")?, is_vnet_file, &mut listing.files);
        }
        if root.contains("nodes") && self.names("nodes")?.contains(&self.node) {
            listing.node_folder = true;
            let node = format!("nodes/{}", self.node);
            let names = self.names(&node)?;
            for kind in ["qemu-server", "lxc"].into_iter().filter(|kind| names.contains(*kind)) {
                let folder = format!("{node}/{kind}");
                keep(&folder, self.names(&folder)?, is_guest_file, &mut listing.files);
            }
            keep(&node, names, |name| name == "host.fw", &mut listing.files);
        }
        Ok(listing)
    }

    /// The names in a folder that its parent lists. Names that are no UTF-8 are none of ours.
    fn names(&self, folder: &str) -> Result<BTreeSet<String>, String> {
        let path = self.root.join(folder);
        let list = || fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name().into_string().ok())).collect();
        let listed: io::Result<BTreeSet<Option<String>>> = list();
        let names = listed.map_err(|error| format!("cannot list {}: {error}", path.display()))?;
        Ok(names.into_iter().flatten().collect())
    }

    /// The files that are listed, and those that are always looked for.
    fn of_interest(&self, listing: &Listing) -> BTreeSet<String> {
        listing.files.iter().cloned().chain(fixed(&self.node)).collect()
    }

    fn look(&self, path: &str, place: &Place) -> Look {
        look(&self.root.join(path), place, self.resting.get(path))
    }

    /// Looks at many files, by two threads: most of the time is spent in the kernel.
    fn look_at(&self, paths: &[&String], place: &Place) -> Vec<Look> {
        let look = |paths: &[&String]| -> Vec<Look> { paths.iter().map(|path| self.look(path, place)).collect() };
        if paths.len() < MANY {
            return look(paths);
        }
        let (first, second) = paths.split_at(paths.len() / 2);
        thread::scope(|threads| {
            let second = threads.spawn(|| look(second));
            let mut looks = look(first);
            match second.join() {
                Ok(second) => looks.extend(second),
                Err(panic) => resume_unwind(panic),
            }
            looks
        })
    }
}

/// Whether a change of this path below the root may matter.
#[must_use]
pub fn matters(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    [".vmlist", ".members", "corosync.conf"].contains(&path) || is_vnet_file(name) || is_guest_file(name)
}

/// What a `.vmlist` says for certain, also where it lists no guest.
#[derive(Deserialize)]
struct VmList {
    #[serde(rename = "ids")]
    _ids: BTreeMap<String, IgnoredAny>,
}

fn is_vmid(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_firewall_file(name: &str) -> bool {
    name.strip_suffix(".fw").is_some_and(|stem| stem == "cluster" || is_vmid(stem))
}

fn is_vnet_file(name: &str) -> bool {
    name.strip_suffix(".fw").is_some_and(|stem| {
        !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

fn is_guest_file(name: &str) -> bool {
    name.strip_suffix(".conf").is_some_and(is_vmid)
}
