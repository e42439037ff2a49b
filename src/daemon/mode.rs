//! Whether the firewall is enabled, and by which backend.
use crate::backend::Compiled;
use crate::model::BackendKind;
use crate::paths::{NFTABLES_BACKEND, NFTABLES_DISABLED};
use crate::system::files;
use crate::system::root_directory::Root;
use anyhow::Result;
use nix::unistd::{AccessFlags, access};

/// The state that a daemon has to establish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Enabled: the compiled rules are applied.
    On,
    /// Disabled: all rules are removed.
    Off,
    /// The other backend is selected: all our rules are removed.
    Other,
}

impl Mode {
    /// The mode of a backend's daemon on this node. nftables is selected if host.fw has `nftables: 1`; the iptables daemon
    /// also requires that the program proxmox-firewall is installed.
    #[must_use]
    pub fn of(kind: BackendKind, compiled: &Compiled, root: &Root) -> Self {
        let selected = match kind {
            BackendKind::Nftables => compiled.nftables,
            BackendKind::Iptables => {
                !compiled.nftables || access(&root.path(NFTABLES_BACKEND), AccessFlags::X_OK).is_err()
            }
        };
        match (compiled.enabled, selected) {
            (false, _) => Mode::Off,
            (true, true) => Mode::On,
            (true, false) => Mode::Other,
        }
    }

    /// Whether the flag file that disables the nftables backend is in the state that the mode requires.
    #[must_use]
    pub fn has_flag(self, root: &Root) -> bool {
        root.path(NFTABLES_DISABLED).exists() == (self != Mode::Other)
    }

    /// Creates or removes the flag file that disables the nftables backend.
    ///
    /// # Errors
    /// When it cannot be created or removed.
    pub fn set_flag(self, root: &Root) -> Result<()> {
        let flag = root.path(NFTABLES_DISABLED);
        match self {
            _ if self.has_flag(root) => Ok(()),
            Mode::Other => files::remove(&flag),
            Mode::On | Mode::Off => files::replace(&flag, b"", 0o644),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_file_is_created_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path().into()));
        for mode in [Mode::On, Mode::Off, Mode::Other, Mode::Other, Mode::Off] {
            mode.set_flag(&root).unwrap();
            assert!(mode.has_flag(&root), "{mode:?}");
            assert_eq!(root.path(NFTABLES_DISABLED).exists(), mode != Mode::Other, "{mode:?}");
        }
    }
}
