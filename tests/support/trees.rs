//! Configuration trees from folders, and the node that the recorded cases are compiled for.
#![allow(clippy::disallowed_methods, reason = "tests read files")]
use pve_firewall::inputs::{Facts, File, Tree};
use std::fs;
use std::path::Path;

/// The files of a case, named as on a node.
pub fn tree(root: &Path) -> Tree {
    let mut tree = Tree { root: "/etc/pve".to_string(), ..Tree::default() };
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                tree.files.insert(name, File::Content(fs::read(&path).unwrap().into()));
            }
        }
    }
    tree
}

/// A host without routes and resolver, and with Debian's name databases.
pub fn facts() -> Facts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; run make deps"));
    Facts {
        node: "n1".to_string(),
        now: 1_790_000_000,
        services: read("/etc/services"),
        protocols: read("/etc/protocols"),
        ethertypes: read("/etc/ethertypes"),
        ..Facts::default()
    }
}
