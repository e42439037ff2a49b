//! Configurations of any size, made by `tests/tools/gen.py`.
#![allow(dead_code, clippy::disallowed_methods, reason = "each program uses a part; it runs and reads files")]
use crate::trees;
use pve_firewall::inputs::{File, Tree};
use std::path::Path;
use std::process::Command;

/// Writes the configuration of node `n1` with so many guests below a folder. The same number makes the same files.
pub fn write(guests: usize, folder: &Path) {
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/gen.py");
    let made = Command::new("python3").arg(generator).args([&guests.to_string(), "1"]).arg(folder).status();
    assert!(made.is_ok_and(|status| status.success()), "gen.py makes no configuration (it needs python3)");
}

/// The tree of node `n1` with so many guests, as the daemon reads it.
pub fn tree(guests: usize) -> Tree {
    let folder = tempfile::tempdir().expect("a directory");
    write(guests, folder.path());
    let mut tree = trees::from_folder(folder.path());
    // the daemon reads of other nodes what is in the shared folder `firewall` only
    tree.files.retain(|path, _| !path.starts_with("nodes/") || path.starts_with("nodes/n1/"));
    tree
}

/// The tree with one more rule of the first guest, for a port.
pub fn with_rule(tree: &Tree, port: u16) -> Tree {
    let (mut tree, file) = (tree.clone(), "firewall/100.fw");
    let text = String::from_utf8_lossy(tree.content(file).expect("a guest's file"));
    // gen.py ends a guest's file with its rules
    let text = format!("{text}IN ACCEPT -source 192.0.2.1 -p tcp -dport {port}\n");
    tree.files.insert(file.into(), File::Content(text.into_bytes().into()));
    tree
}
