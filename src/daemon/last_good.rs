//! The last good configuration, kept in the state directory for a boot before the cluster file system is mounted.
//!
//! The file contains the configuration files and not rules, which are compiled again for the current state of the node. Its
//! format: a line with the version, a line with the SHA-1 of the rest in hexadecimal digits, and the rest in postcard's
//! format.
use crate::inputs::Tree;
use crate::paths::LAST_GOOD;
use crate::system::files;
use crate::system::root_directory::Root;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FORMAT: &[u8] = b"pve-firewall last good configuration, format 1\n";
/// The maximum size of the file in bytes, far more than any accepted tree.
const MAX_SIZE: u64 = 256 << 20;

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct StoredTree {
    node: String,
    tree: Arc<Tree>,
}

/// The file of one node.
#[derive(Debug)]
pub struct LastGood {
    path: PathBuf,
    node: String,
    /// The content that was last written or read.
    kept: Option<Arc<Tree>>,
}

impl LastGood {
    /// For a node with this root directory.
    #[must_use]
    pub fn new(root: &Root, node: &str) -> Self {
        LastGood { path: root.path(LAST_GOOD), node: node.into(), kept: None }
    }

    /// The file's path on disk.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a tree, if it differs from the current one.
    ///
    /// # Errors
    /// When the file cannot be written; the old one is then unchanged.
    pub fn store(&mut self, tree: &Arc<Tree>) -> Result<()> {
        if self.kept.as_ref() != Some(tree) {
            let kept = StoredTree { node: self.node.clone(), tree: tree.clone() };
            let body = postcard::to_stdvec(&kept).context("cannot encode the configuration")?;
            let sum = Sha1::digest(&body).into();
            let file = [FORMAT, hexadecimal(&sum).as_bytes(), b"\n", &body].concat();
            // the configuration of guests can contain secrets
            files::replace(&self.path, &file, 0o600)?;
            self.kept = Some(tree.clone());
        }
        Ok(())
    }

    /// Reads the tree; `None` if the file does not exist.
    ///
    /// # Errors
    /// When the file is not owned by root, incomplete, or of another format or node.
    pub fn load(&mut self) -> Result<Option<Arc<Tree>>> {
        let Some(file) = files::read_root_owned(&self.path, MAX_SIZE)? else { return Ok(None) };
        let rest = file.strip_prefix(FORMAT).context("it has another format")?;
        let (stored, body) = rest.split_at_checked(41).context("it is truncated")?;
        let sum: [u8; 20] = Sha1::digest(body).into();
        ensure!(stored == format!("{}\n", hexadecimal(&sum)).as_bytes(), "its checksum is wrong");
        let StoredTree { node, tree } = postcard::from_bytes(body).context("it cannot be decoded")?;
        if node != self.node {
            bail!("it is of the node '{}'", node.escape_debug());
        }
        self.kept = Some(tree.clone());
        Ok(Some(tree))
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove(&self) -> Result<()> {
        files::remove(&self.path)
    }
}

fn hexadecimal(sum: &[u8; 20]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::File;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn tree() -> Arc<Tree> {
        let content = File::Content(b"[OPTIONS]\nenable: 1\n\xff".as_slice().into());
        let files = [
            ("firewall/cluster.fw".into(), content),
            ("firewall/100.fw".into(), File::Unreadable("it is gone".into())),
        ];
        Tree { root: "/etc/pve".into(), files: files.into() }.into()
    }

    fn kept() -> (tempfile::TempDir, LastGood) {
        let dir = tempfile::tempdir().unwrap();
        let mut last = LastGood::new(&Root::new(Some(dir.path().into())), "n1");
        assert_eq!(last.load().unwrap(), None);
        last.store(&tree()).unwrap();
        (dir, last)
    }

    #[test]
    fn a_stored_configuration_is_loaded() {
        let (_dir, mut last) = kept();
        assert_eq!(last.load().unwrap(), Some(tree()));
        assert_eq!(fs::metadata(last.path()).unwrap().permissions().mode() & 0o777, 0o600);
        // an equal tree is not written again
        fs::remove_file(last.path()).unwrap();
        last.store(&tree()).unwrap();
        assert!(!last.path().exists());
        last.store(&Arc::default()).unwrap();
        assert_eq!(last.load().unwrap(), Some(Arc::default()));
    }

    #[test]
    fn an_incomplete_or_foreign_file_is_refused() {
        let (dir, mut last) = kept();
        let whole = fs::read(last.path()).unwrap();
        let mut refused = |content: &[u8], reason: &str| {
            fs::write(last.path(), content).unwrap();
            let error = format!("{:#}", last.load().unwrap_err());
            assert!(error.contains(reason), "{error}");
        };
        refused(b"", "another format");
        refused(b"pve-firewall last good configuration, format 2\n", "another format");
        refused(&whole[..FORMAT.len() + 20], "truncated");
        for at in FORMAT.len()..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            refused(&flipped, "its checksum is wrong");
            refused(&whole[..at.max(FORMAT.len() + 41)], "its checksum is wrong");
        }
        fs::write(last.path(), &whole).unwrap();
        let root = Root::new(Some(dir.path().into()));
        let error = LastGood::new(&root, "n2").load().unwrap_err();
        assert!(error.to_string().contains("of the node 'n1'"), "{error}");
    }

    #[test]
    fn a_file_that_other_users_can_write_is_refused() {
        let (dir, mut last) = kept();
        let mut refused = |reason: &str| {
            let error = format!("{:#}", last.load().unwrap_err());
            assert!(error.contains(reason), "{error}");
        };
        let path = dir.path().join("var/lib/pve-firewall/last-good");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        refused("users other than root");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(1234), None).unwrap();
        refused("users other than root");
        chown(&path, Some(0), None).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        refused("symbolic links");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("not a regular file");
    }
}
