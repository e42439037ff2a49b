//! Whether there are to be rules at all.
use crate::iptables::compile::Compiled;
use crate::system::files;
use crate::system::root::Root;
use anyhow::Result;
use nix::unistd::{AccessFlags, access};

/// The nftables backend, which takes over when host.fw says `nftables: 1` and it is there.
const BACKEND: &str = "/usr/libexec/proxmox/proxmox-firewall";
/// Keeps that backend from doing anything, as long as it exists.
const FORCE_DISABLE: &str = "/run/proxmox-nftables-firewall-force-disable";

/// What is to be done with the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The firewall is on: the compiled rules are to be live.
    On,
    /// It is off: no rule is to be live.
    Off,
    /// The nftables backend is in charge: no rule of ours is to be live.
    Nftables,
}

impl Mode {
    /// The mode that a configuration asks for on this node.
    #[must_use]
    pub fn of(compiled: &Compiled, root: &Root) -> Self {
        if !compiled.enabled {
            Mode::Off
        } else if compiled.nftables && access(&root.path(BACKEND), AccessFlags::X_OK).is_ok() {
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
        let flag = root.path(FORCE_DISABLE);
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
    fn the_flag_file_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path().into()));
        for mode in [Mode::On, Mode::Off, Mode::Nftables, Mode::Nftables, Mode::Off] {
            mode.set_flag(&root).unwrap();
            assert_eq!(root.path(FORCE_DISABLE).exists(), mode != Mode::Nftables, "{mode:?}");
        }
    }
}
