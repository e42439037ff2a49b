//! The two ways to enforce a configuration.

/// A backend: what enforces the configuration on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// iptables, ip6tables, ipset and ebtables, by the program `pve-firewall`.
    Iptables,
    /// nftables, by the program `proxmox-firewall`.
    Nftables,
}

impl BackendKind {
    /// The program whose daemon enforces with it.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            BackendKind::Iptables => "pve-firewall",
            BackendKind::Nftables => "proxmox-firewall",
        }
    }
}
