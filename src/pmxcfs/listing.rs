//! The files of interest: which they are, and what the listings of their folders show of them.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The files of interest at the top of the tree.
const TOP: [&str; 3] = [".vmlist", ".members", "corosync.conf"];

/// The files that are always looked for, listed or not, and without whose content nothing is certain about any rule.
#[must_use]
pub fn fixed(node: &str) -> [String; 5] {
    let [vmlist, members, corosync] = TOP.map(str::to_string);
    [vmlist, members, corosync, "firewall/cluster.fw".into(), format!("nodes/{node}/host.fw")]
}

/// The folders with files of interest, by their path below the root.
#[must_use]
pub fn folders(node: &str) -> Vec<String> {
    let node = format!("nodes/{node}");
    let (machines, containers) = (format!("{node}/qemu-server"), format!("{node}/lxc"));
    let known = ["", "firewall", "sdn", "sdn/firewall", "nodes"].map(str::to_string);
    known.into_iter().chain([node, machines, containers]).collect()
}

/// Whether a change of this path below the root may matter.
#[must_use]
pub fn matters(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    TOP.contains(&path) || is_vnet_file(name) || is_guest_file(name)
}

/// What the listing of a folder shows of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing.
    Unlisted,
    /// That it is a regular file.
    File,
    /// That it is there.
    Other,
}

/// What the folders of interest list.
#[derive(Default)]
pub(super) struct Listing {
    /// The files that are listed, and those that are always looked for, by their path below the root.
    pub files: BTreeMap<Arc<str>, Entry>,
    /// Whether there is a folder of this node.
    pub node_folder: bool,
}

impl Listing {
    /// Of the tree at `root`, for a node.
    ///
    /// # Errors
    /// When a folder that its parent lists cannot be listed.
    pub fn of(root: &Path, node: &str) -> Result<Self, String> {
        let mut found: Vec<(Arc<str>, Entry)> = Vec::new();
        let mut keep = |folder: &str, names: Names, wanted: fn(&str) -> bool| {
            let path = |name: &str| [folder, if folder.is_empty() { "" } else { "/" }, name].concat().into();
            found.extend(names.0.iter().filter(|(name, _)| wanted(name)).map(|(name, entry)| (path(name), *entry)));
        };
        let mut node_folder = false;
        let top = Names::of(root, "")?;
        if top.contain("firewall") {
            keep("firewall", Names::of(root, "firewall")?, is_firewall_file);
        }
        if top.contain("sdn") && Names::of(root, "sdn")?.contain("firewall") {
            keep("sdn/firewall", Names::of(root, "sdn/firewall")?, is_vnet_file);
        }
        if top.contain("nodes") && Names::of(root, "nodes")?.contain(node) {
            node_folder = true;
            let folder = format!("nodes/{node}");
            let names = Names::of(root, &folder)?;
            for kind in ["qemu-server", "lxc"].into_iter().filter(|kind| names.contain(kind)) {
                let folder = format!("{folder}/{kind}");
                keep(&folder, Names::of(root, &folder)?, is_guest_file);
            }
            keep(&folder, names, |name| name == "host.fw");
        }
        keep("", top, |name| TOP.contains(&name));
        let mut files: BTreeMap<Arc<str>, Entry> = found.into_iter().collect();
        for path in fixed(node) {
            files.entry(path.into()).or_insert(Entry::Unlisted);
        }
        Ok(Listing { files, node_folder })
    }

    /// Whether a folder lists this path.
    pub fn lists(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|entry| *entry != Entry::Unlisted)
    }
}

/// The names in a folder, in no order. Those that are no UTF-8 are none of ours.
struct Names(Vec<(String, Entry)>);

impl Names {
    /// Of a folder that its parent lists.
    fn of(root: &Path, folder: &str) -> Result<Self, String> {
        let path = root.join(folder);
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let name = entry.file_name().into_string().ok();
            Ok(name.map(|name| (name, if is_file { Entry::File } else { Entry::Other })))
        };
        let names = fs::read_dir(&path).and_then(|entries| entries.filter_map(|one| entry(one).transpose()).collect());
        names.map(Names).map_err(|error| format!("cannot list {}: {error}", path.display()))
    }

    fn contain(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
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
