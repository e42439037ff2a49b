//! One pass over the configuration tree. Runs in the worker process, since any of its system calls may block for ever.
//!
//! Nothing stays open after a pass: an open file, directory or working directory below `/etc/pve` would stop pmxcfs
//! from starting again after a crash.
use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

/// The largest file that pmxcfs holds, and that is read, in bytes.
pub const LARGEST: u64 = 1 << 20;
/// ENOENT is believed after this many more tries, so many milliseconds apart: a rename makes a name vanish for moments.
const RETRIES_MS: [u64; 6] = [0, 1, 5, 20, 50, 100];
/// A file not modified for this long is not being written. pmxcfs has whole seconds, and may show them a second late.
const AT_REST: Duration = Duration::from_secs(3);

/// What a file showed in a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// Its content.
    Content(Vec<u8>),
    /// Spaced tries to open it and a listing of its folder both say that it is not there.
    Absent,
    /// It is there and cannot be read: why.
    Failed(String),
}

/// A file in a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// What it showed.
    pub seen: Seen,
    /// Whether its time of modification is long enough ago that nobody is writing it.
    pub at_rest: bool,
}

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Why the pass does not show a healthy tree; with `None` there is positive evidence that it does.
    pub ill: Option<String>,
    /// Whether the tree is a FUSE mount, as pmxcfs is.
    pub fuse: bool,
    /// `st_dev` of the tree's root.
    pub device: u64,
    /// The files by their path below the root: those listed, those always looked for, and those of the pass before.
    pub files: BTreeMap<String, Sight>,
    /// The fingerprint of the tree, taken before anything was read.
    pub fingerprint: u64,
}

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
        Scanner { root, node, expected: BTreeSet::new() }
    }

    /// The folders to watch for local writes.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let node = format!("nodes/{}", self.node);
        let below = ["firewall", "sdn/firewall", &node, &format!("{node}/qemu-server"), &format!("{node}/lxc")]
            .map(|folder| self.root.join(folder));
        std::iter::once(self.root.clone()).chain(below).collect()
    }

    /// A number that changes when a file's name, size, inode or time of modification does. Reads no content.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self.list() {
            Ok(listing) => {
                for path in listing.files.iter().chain(&fixed(&self.node)) {
                    let stat = fs::metadata(self.root.join(path))
                        .map(|meta| (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.mode()));
                    (path, stat.map_err(|error| error.raw_os_error())).hash(&mut hasher);
                }
            }
            Err(reason) => reason.hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Reads everything anew.
    pub fn read(&mut self) -> Scan {
        let mut scan = Scan { fingerprint: self.fingerprint(), ..Scan::default() };
        if let Err(reason) = self.read_into(&mut scan) {
            scan.ill = Some(reason);
        }
        scan
    }

    fn read_into(&mut self, scan: &mut Scan) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", self.root.display());
        scan.device = fs::metadata(&self.root).map_err(|error| cannot(&error))?.dev();
        scan.fuse = statfs(&self.root).map_err(|errno| cannot(&errno))?.filesystem_type() == FUSE_SUPER_MAGIC;
        let listing = self.list()?;
        let mut missing = BTreeSet::new();
        let wanted: BTreeSet<String> =
            listing.files.iter().chain(&self.expected).cloned().chain(fixed(&self.node)).collect();
        for path in wanted {
            match self.look(&path) {
                Some(sight) => drop(scan.files.insert(path, sight)),
                None => drop(missing.insert(path)),
            }
        }
        self.look_again(&listing, missing, scan)?;
        self.expected =
            scan.files.iter().filter(|(_, sight)| sight.seen != Seen::Absent).map(|(path, _)| path.clone()).collect();
        self.evidence(&listing, scan)
    }

    /// Settles which of the files that could not be opened are absent.
    fn look_again(&self, listing: &Listing, mut missing: BTreeSet<String>, scan: &mut Scan) -> Result<(), String> {
        let absent = || Sight { seen: Seen::Absent, at_rest: false };
        let doubtful = |path: &String| listing.files.contains(path) || self.expected.contains(path);
        missing.retain(|path| doubtful(path) || scan.files.insert(path.clone(), absent()).is_some());
        for pause in RETRIES_MS {
            if missing.is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(pause));
            missing.retain(|path| match self.look(path) {
                Some(sight) => scan.files.insert(path.clone(), sight).is_some(),
                None => true,
            });
        }
        let now = self.list()?;
        for path in missing {
            let sight = if now.files.contains(&path) {
                Sight { seen: Seen::Failed("it is listed, but there is nothing to open".into()), at_rest: false }
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
            _ if scan.fuse => Err(format!("{root}/.vmlist is missing; is pve-cluster running?")),
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

    /// Reads a file; `None` on ENOENT.
    fn look(&self, path: &str) -> Option<Sight> {
        match self.open_and_read(path) {
            Ok((content, at_rest)) => Some(Sight { seen: Seen::Content(content), at_rest }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Sight { seen: Seen::Failed(error.to_string()), at_rest: false }),
        }
    }

    fn open_and_read(&self, path: &str) -> io::Result<(Vec<u8>, bool)> {
        // held first and opened then, so that its name is looked up once, and no device is opened
        let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(self.root.join(path))?;
        if !held.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let by_descriptor = format!("/proc/self/fd/{}", held.as_raw_fd());
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(by_descriptor)?;
        let mut content = Vec::new();
        (&mut file).take(LARGEST + 1).read_to_end(&mut content)?;
        let meta = file.metadata()?;
        if content.len() as u64 > LARGEST {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        let age = meta.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let complete = meta.len() == content.len() as u64;
        Ok((content, complete && age.is_some_and(|age| age >= AT_REST)))
    }
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
