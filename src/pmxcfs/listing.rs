//! The relevant files, and the listings of their directories.
use crate::model::guest::GuestKind;
use crate::paths::{
    FIREWALL_FOLDER, NODES_FOLDER, PRIVATE_FOLDER, SDN_FOLDER, TreeFile, VNET_FOLDER, guest_folder, node_folder,
};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The files that are looked up whether their directory lists them or not, because all rules depend on them.
#[must_use]
pub fn fixed(node: &str) -> [String; 5] {
    let host = TreeFile::Host(node);
    [TreeFile::VmList, TreeFile::Members, TreeFile::Corosync, TreeFile::Cluster, host].map(|file| file.to_string())
}

/// The directories with relevant files, relative to the root.
#[must_use]
pub fn folders(node: &str) -> Vec<String> {
    let known = ["", FIREWALL_FOLDER, SDN_FOLDER, VNET_FOLDER, PRIVATE_FOLDER, NODES_FOLDER].map(str::to_string);
    let guests = GuestKind::ALL.map(|kind| guest_folder(node, kind));
    known.into_iter().chain([node_folder(node)]).chain(guests).collect()
}

/// Whether a change of this path (relative to the root) is relevant.
#[must_use]
pub fn matters(path: &str) -> bool {
    TreeFile::parse(path).is_some_and(TreeFile::has_valid_name)
}

/// The kind of a name in the listing of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// Not listed.
    Unlisted,
    /// A regular file.
    File,
    /// Listed, of another or unknown type.
    Other,
}

/// The content of the directories with relevant files.
#[derive(Debug, Default)]
pub(super) struct TreeListing {
    /// The files that are listed or always looked up, relative to the root.
    pub files: BTreeMap<Arc<str>, EntryKind>,
    /// Whether this node has a directory.
    pub node_folder: bool,
}

impl TreeListing {
    /// Lists the directories of the tree at `root` that a node needs.
    ///
    /// # Errors
    /// When a directory that its parent lists cannot be listed.
    pub fn of(root: &Path, node: &str) -> Result<Self, String> {
        let mut found: Vec<(Arc<str>, EntryKind)> = Vec::new();
        let mut keep = |folder: &str, names: DirectoryNames| {
            let path = |name: &str| [folder, if folder.is_empty() { "" } else { "/" }, name].concat();
            let named = names.0.iter().map(|(name, entry)| (path(name), *entry));
            let needed = named.filter(|(path, _)| TreeFile::parse(path).is_some_and(|file| file.is_needed_on(node)));
            found.extend(needed.map(|(path, entry)| (path.into(), entry)));
        };
        let mut has_node_folder = false;
        let top = DirectoryNames::of(root, "")?;
        if top.contain(FIREWALL_FOLDER) {
            keep(FIREWALL_FOLDER, DirectoryNames::of(root, FIREWALL_FOLDER)?);
        }
        if top.contain(SDN_FOLDER) {
            let names = DirectoryNames::of(root, SDN_FOLDER)?;
            if names.contain(name_of(VNET_FOLDER)) {
                keep(VNET_FOLDER, DirectoryNames::of(root, VNET_FOLDER)?);
            }
            keep(SDN_FOLDER, names);
        }
        // users other than root cannot list it
        if top.contain(PRIVATE_FOLDER)
            && let Ok(names) = DirectoryNames::of(root, PRIVATE_FOLDER)
        {
            keep(PRIVATE_FOLDER, names);
        }
        if top.contain(NODES_FOLDER) && DirectoryNames::of(root, NODES_FOLDER)?.contain(node) {
            has_node_folder = true;
            let folder = node_folder(node);
            let names = DirectoryNames::of(root, &folder)?;
            for folder in GuestKind::ALL.map(|kind| guest_folder(node, kind)) {
                if names.contain(name_of(&folder)) {
                    keep(&folder, DirectoryNames::of(root, &folder)?);
                }
            }
            keep(&folder, names);
        }
        keep("", top);
        let mut files: BTreeMap<Arc<str>, EntryKind> = found.into_iter().collect();
        for path in fixed(node) {
            files.entry(path.into()).or_insert(EntryKind::Unlisted);
        }
        Ok(TreeListing { files, node_folder: has_node_folder })
    }

    /// Whether a directory lists this path.
    pub fn lists(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|entry| *entry != EntryKind::Unlisted)
    }
}

/// The names in a directory, unordered. Names that are not UTF-8 are omitted.
struct DirectoryNames(Vec<(String, EntryKind)>);

impl DirectoryNames {
    /// Lists a directory.
    fn of(root: &Path, folder: &str) -> Result<Self, String> {
        let path = root.join(folder);
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let name = entry.file_name().into_string().ok();
            Ok(name.map(|name| (name, if is_file { EntryKind::File } else { EntryKind::Other })))
        };
        let names = fs::read_dir(&path).and_then(|entries| entries.filter_map(|one| entry(one).transpose()).collect());
        names.map(DirectoryNames).map_err(|error| format!("cannot list {}: {error}", path.display()))
    }

    fn contain(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// The last component of a path.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
