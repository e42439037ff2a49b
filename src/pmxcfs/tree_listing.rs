//! The relevant files, and the listings of their directories.
use crate::model::guest::GuestKind;
use crate::paths::{
    FIREWALL_DIRECTORY, NODES_DIRECTORY, PRIVATE_DIRECTORY, SDN_DIRECTORY, TreeFile, VNET_DIRECTORY, guest_directory,
    node_directory,
};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The files that are looked up even if their directory does not list them, because all rules depend on them.
#[must_use]
pub fn fixed(node: &str) -> [String; 5] {
    let host = TreeFile::Host(node);
    [TreeFile::VmList, TreeFile::Members, TreeFile::Corosync, TreeFile::Cluster, host].map(|file| file.to_string())
}

/// The directories with relevant files, relative to the root.
#[must_use]
pub fn directories(node: &str) -> Vec<String> {
    let known =
        ["", FIREWALL_DIRECTORY, SDN_DIRECTORY, VNET_DIRECTORY, PRIVATE_DIRECTORY, NODES_DIRECTORY].map(str::to_string);
    let guests = GuestKind::ALL.map(|kind| guest_directory(node, kind));
    known.into_iter().chain([node_directory(node)]).chain(guests).collect()
}

/// Whether a change of this path (relative to the root) is relevant.
#[must_use]
pub fn is_relevant(path: &str) -> bool {
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
    pub node_directory: bool,
}

impl TreeListing {
    /// Lists the directories of the tree at `root` that a node needs.
    ///
    /// # Errors
    /// When a directory that its parent lists cannot be listed.
    pub fn of(root: &Path, node: &str) -> Result<Self, String> {
        let mut found: Vec<(Arc<str>, EntryKind)> = Vec::new();
        let mut keep = |directory: &str, names: DirectoryNames| {
            let path = |name: &str| [directory, if directory.is_empty() { "" } else { "/" }, name].concat();
            let named = names.0.iter().map(|(name, entry)| (path(name), *entry));
            let needed = named.filter(|(path, _)| TreeFile::parse(path).is_some_and(|file| file.is_needed_on(node)));
            found.extend(needed.map(|(path, entry)| (path.into(), entry)));
        };
        let mut has_node_directory = false;
        let top = DirectoryNames::of(root, "")?;
        if top.contain(FIREWALL_DIRECTORY) {
            keep(FIREWALL_DIRECTORY, DirectoryNames::of(root, FIREWALL_DIRECTORY)?);
        }
        if top.contain(SDN_DIRECTORY) {
            let names = DirectoryNames::of(root, SDN_DIRECTORY)?;
            if names.contain(name_of(VNET_DIRECTORY)) {
                keep(VNET_DIRECTORY, DirectoryNames::of(root, VNET_DIRECTORY)?);
            }
            keep(SDN_DIRECTORY, names);
        }
        // users other than root cannot list it
        if top.contain(PRIVATE_DIRECTORY)
            && let Ok(names) = DirectoryNames::of(root, PRIVATE_DIRECTORY)
        {
            keep(PRIVATE_DIRECTORY, names);
        }
        if top.contain(NODES_DIRECTORY) && DirectoryNames::of(root, NODES_DIRECTORY)?.contain(node) {
            has_node_directory = true;
            let directory = node_directory(node);
            let names = DirectoryNames::of(root, &directory)?;
            for directory in GuestKind::ALL.map(|kind| guest_directory(node, kind)) {
                if names.contain(name_of(&directory)) {
                    keep(&directory, DirectoryNames::of(root, &directory)?);
                }
            }
            keep(&directory, names);
        }
        keep("", top);
        let mut files: BTreeMap<Arc<str>, EntryKind> = found.into_iter().collect();
        for path in fixed(node) {
            files.entry(path.into()).or_insert(EntryKind::Unlisted);
        }
        Ok(TreeListing { files, node_directory: has_node_directory })
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
    fn of(root: &Path, directory: &str) -> Result<Self, String> {
        let path = root.join(directory);
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
