//! The kinds of firewall files.

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// `firewall/cluster.fw`
    Cluster,
    /// `nodes/<node>/host.fw`
    Host,
    /// `firewall/<VMID>.fw`
    Guest,
    /// `sdn/firewall/<vnet>.fw`
    Vnet,
}
