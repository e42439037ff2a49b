//! Whether there are to be rules at all.
use crate::iptables::compile::Compiled;
use crate::paths::{NFTABLES_BACKEND, NFTABLES_DISABLED};
use crate::system::files;
use crate::system::root::Root;
use anyhow::Result;
use nix::unistd::{AccessFlags, access};

/// What is to be done with the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The firewall is on: the compiled rules are to be live.
    On,
    /// It is off: no rule is to be live.
    Off,
    /// The nftables backend is in charge, as host.fw says `nftables: 1` and its program is there: no rule of ours is to be live.
    Nftables,
}

impl Mode {
    /// The mode that a configuration asks for on this node.
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

    /// Makes the flag file that keeps the nftables backend quiet exist, or not.
    ///
    /// # Errors
    /// When it can neither be made nor removed.
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
