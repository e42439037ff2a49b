//! The directory that contains all paths of the program.
use std::path::{Path, PathBuf};

/// Prefix of every path that the programs read or write (`--root DIR`); the default is `/`.
///
/// `/proc` and `/sys` belong to the kernel and are never prefixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root(Option<PathBuf>);

impl Root {
    /// `None` or `/` leaves paths unchanged.
    #[must_use]
    pub fn new(dir: Option<PathBuf>) -> Self {
        Root(dir.filter(|dir| dir != Path::new("/")))
    }

    /// Prefixes an absolute path.
    #[must_use]
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        match &self.0 {
            Some(dir) => dir.join(absolute.strip_prefix("/").unwrap_or(absolute)),
            None => absolute.to_path_buf(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_prefixes_absolute_paths() {
        let root = Root::new(Some("/tmp/x".into()));
        assert_eq!(root.path("/etc/pve"), Path::new("/tmp/x/etc/pve"));
        assert_eq!(Root::default().path("/etc/pve"), Path::new("/etc/pve"));
        assert_eq!(Root::new(Some("/".into())).path("/run"), Path::new("/run"));
    }
}
