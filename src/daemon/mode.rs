//! Whether the firewall is enabled, and by which backend.
use crate::backend::Compiled;
use crate::paths::{NFTABLES_BACKEND, NFTABLES_DISABLED};
use crate::system::files;
use crate::system::root::Root;
use anyhow::Result;
use nix::unistd::{AccessFlags, access};

/// The mode of the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Enabled: the compiled rules are applied.
    On,
    /// Disabled: all rules are removed.
    Off,
    /// host.fw has `nftables: 1` and proxmox-firewall is installed: all our rules are removed.
    Nftables,
}

impl Mode {
    /// The mode of a configuration on this node.
    #[must_use]
    pub fn of(compiled: &Compiled, root: &Root) -> Self {
        if !compiled.enabled {
            Mode::Off
        } else if compiled.nftables && access(&root.path(NFTABLES_BACKEND), AccessFlags::X_OK).is_ok() {
            Mode::Nftables
        } else {
            Mode::On
        }
    }

    /// Creates or removes the flag file that disables the nftables backend.
    ///
    /// # Errors
    /// When it cannot be created or removed.
    pub fn set_flag(self, root: &Root) -> Result<()> {
        let flag = root.path(NFTABLES_DISABLED);
        match (self, flag.exists()) {
            (Mode::Nftables, true) => files::remove(&flag),
            (Mode::On | Mode::Off, false) => files::replace(&flag, b"", 0o644),
            _ => Ok(()),
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
        for mode in [Mode::On, Mode::Off, Mode::Nftables, Mode::Nftables, Mode::Off] {
            mode.set_flag(&root).unwrap();
            assert_eq!(root.path(NFTABLES_DISABLED).exists(), mode != Mode::Nftables, "{mode:?}");
        }
    }
}
