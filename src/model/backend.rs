//! The two backends.
use serde::{Deserialize, Serialize};

/// A backend, which enforces the configuration on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// iptables, ip6tables, ipset and ebtables, by the program `pve-firewall`.
    Iptables,
    /// nftables, by the program `proxmox-firewall`.
    Nftables,
}

impl BackendKind {
    /// Both.
    pub const ALL: [Self; 2] = [BackendKind::Iptables, BackendKind::Nftables];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            BackendKind::Iptables => BackendKind::Nftables,
            BackendKind::Nftables => BackendKind::Iptables,
        }
    }

    /// The program whose daemon uses this backend.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            BackendKind::Iptables => "pve-firewall",
            BackendKind::Nftables => "proxmox-firewall",
        }
    }
}
