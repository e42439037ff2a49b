//! Paths of all files that the firewall reads and writes; they are formatted and parsed in this module only.
//!
//! Absolute paths are below the directory of the option `--root` ([`Root`](crate::system::root_directory::Root)); a [`TreeFile`]
//! is a path relative to the configuration tree.
use crate::model::BackendKind;
use crate::model::FileKind;
use crate::model::guest::{GuestKind, parse_vmid};
use std::fmt;

/// The root of the configuration tree, where pmxcfs is mounted.
pub const CONFIG: &str = "/etc/pve";
/// The services database (services(5)).
pub const SERVICES: &str = "/etc/services";
/// The protocols database (protocols(5)).
pub const PROTOCOLS: &str = "/etc/protocols";
/// The ethertypes database (ethertypes(5)).
pub const ETHERTYPES: &str = "/etc/ethertypes";
/// The lock for updates, shared with the official firewall.
pub const UPDATE_LOCK: &str = "/run/lock/pvefw.lck";
/// The files of a running daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonFiles {
    /// Its pid.
    pub pid: &'static str,
    /// The lock that it holds.
    pub lock: &'static str,
    /// Its status, for `status --verbose`.
    pub status: &'static str,
}

/// The files of the daemon of a backend.
#[must_use]
pub fn daemon_files(kind: BackendKind) -> DaemonFiles {
    match kind {
        BackendKind::Iptables => DaemonFiles {
            pid: "/run/pve-firewall.pid",
            lock: "/run/pve-firewall/daemon.lock",
            status: "/run/pve-firewall/status.json",
        },
        BackendKind::Nftables => DaemonFiles {
            pid: "/run/proxmox-firewall.pid",
            lock: "/run/proxmox-firewall/daemon.lock",
            status: "/run/proxmox-firewall/status.json",
        },
    }
}

/// While this file exists, proxmox-firewall removes its rules and creates none.
pub const NFTABLES_DISABLED: &str = "/run/proxmox-nftables-firewall-force-disable";
/// The directory of the configuration on trial.
pub const TRIAL: &str = "/run/pve-firewall/trial";
/// The program of the nftables backend.
pub const NFTABLES_BACKEND: &str = "/usr/libexec/proxmox/proxmox-firewall";
/// The last good configuration.
pub const LAST_GOOD: &str = "/var/lib/pve-firewall/last-good";
/// Whether the log daemon logs connections: `0` or `1`.
pub const LOG_CONNTRACK: &str = "/var/lib/pve-firewall/log_nf_conntrack";
/// The last script for `iptables-restore`, table `filter`.
pub const SCRIPT_IP4: &str = "/var/lib/pve-firewall/ip4cmdlist";
/// The last script for `iptables-restore`, table `raw`.
pub const SCRIPT_IP4_RAW: &str = "/var/lib/pve-firewall/ip4cmdlistraw";
/// The last script for `ip6tables-restore`, table `filter`.
pub const SCRIPT_IP6: &str = "/var/lib/pve-firewall/ip6cmdlist";
/// The last script for `ip6tables-restore`, table `raw`.
pub const SCRIPT_IP6_RAW: &str = "/var/lib/pve-firewall/ip6cmdlistraw";
/// The last script for `ebtables-restore`.
pub const SCRIPT_EBTABLES: &str = "/var/lib/pve-firewall/ebtablescmdlist";
/// The last script for `ipset restore` that created sets.
pub const SCRIPT_IPSET: &str = "/var/lib/pve-firewall/ipsetcmdlist1";
/// The last script for `ipset restore` that removed sets.
pub const SCRIPT_IPSET_REMOVED: &str = "/var/lib/pve-firewall/ipsetcmdlist2";
/// The lock that ebtables-legacy takes with `--concurrent`.
pub const EBTABLES_LOCK: &str = "/var/lib/ebtables/lock";
/// The lock of the legacy tools of iptables.
pub const XTABLES_LOCK: &str = "/run/xtables.lock";
/// The directory of the database of pmxcfs and of its write-ahead log.
pub const CLUSTER_DATABASE: &str = "/var/lib/pve-cluster";
/// The log of packets and connections.
pub const LOG: &str = "/var/log/pve-firewall.log";
/// The pid file of the log daemon.
pub const LOGGER_PID: &str = "/run/pvefw-logger.pid";
/// The lock of the running log daemon.
pub const LOGGER_LOCK: &str = "/run/lock/pvefw-logger.lck";

/// `.vmlist`: the guests of the cluster.
pub const VMLIST: &str = ".vmlist";
/// `.members`: the nodes of the cluster and their addresses.
pub const MEMBERS: &str = ".members";
/// `corosync.conf`
pub const COROSYNC: &str = "corosync.conf";
/// `firewall/cluster.fw`
pub const CLUSTER: &str = "firewall/cluster.fw";

/// The running SDN configuration.
pub const SDN_RUNNING: &str = "sdn/.running-config";
/// The state of the IPAM of Proxmox VE.
pub const IPAM_STATE: &str = "sdn/pve-ipam-state.json";
/// The same, of older versions.
pub const IPAM_DATABASE: &str = "priv/ipam.db";

/// The directory of cluster.fw and of the guests' firewall files.
pub const FIREWALL_DIRECTORY: &str = "firewall";
/// The directory of SDN.
pub const SDN_DIRECTORY: &str = "sdn";
/// The directory of the vnets' firewall files.
pub const VNET_DIRECTORY: &str = "sdn/firewall";
/// The directory of files that only root can read.
pub const PRIVATE_DIRECTORY: &str = "priv";
/// The directory of the nodes' directories.
pub const NODES_DIRECTORY: &str = "nodes";

/// The name of a node's own firewall file.
const HOST_FILE: &str = "host.fw";

/// The directory of a node.
#[must_use]
pub fn node_directory(node: &str) -> String {
    format!("{NODES_DIRECTORY}/{node}")
}

/// The directory of the configuration files of a node's guests, of one kind.
#[must_use]
pub fn guest_directory(node: &str, kind: GuestKind) -> String {
    format!("{NODES_DIRECTORY}/{node}/{}", guest_directory_name(kind))
}

fn guest_directory_name(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Vm => "qemu-server",
        GuestKind::Container => "lxc",
    }
}

/// A file of the configuration tree; `Display` gives its path relative to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeFile<'a> {
    /// [`VMLIST`]
    VmList,
    /// [`MEMBERS`]
    Members,
    /// [`COROSYNC`]
    Corosync,
    /// [`CLUSTER`]
    Cluster,
    /// [`SDN_RUNNING`]
    SdnRunning,
    /// [`IPAM_STATE`]
    IpamState,
    /// [`IPAM_DATABASE`]
    IpamDatabase,
    /// `nodes/<node>/host.fw`
    Host(&'a str),
    /// `firewall/<VMID>.fw`, also with a name that is not a VMID, except `cluster`.
    Guest(&'a str),
    /// `sdn/firewall/<vnet>.fw`
    Vnet(&'a str),
    /// `nodes/<node>/qemu-server/<VMID>.conf`, or `lxc` for a container.
    GuestConfig {
        /// The node.
        node: &'a str,
        /// The kind of the guest.
        kind: GuestKind,
        /// The VMID, or any other name.
        id: &'a str,
    },
}

impl<'a> TreeFile<'a> {
    /// Parses a path relative to the tree.
    #[must_use]
    pub fn parse(path: &'a str) -> Option<Self> {
        let fixed = match path {
            VMLIST => Some(TreeFile::VmList),
            MEMBERS => Some(TreeFile::Members),
            COROSYNC => Some(TreeFile::Corosync),
            CLUSTER => Some(TreeFile::Cluster),
            SDN_RUNNING => Some(TreeFile::SdnRunning),
            IPAM_STATE => Some(TreeFile::IpamState),
            IPAM_DATABASE => Some(TreeFile::IpamDatabase),
            _ => None,
        };
        if fixed.is_some() {
            return fixed;
        }
        let (directory, name) = path.rsplit_once('/')?;
        let stem = |extension| name.strip_suffix(extension).filter(|stem: &&str| !stem.is_empty());
        if directory == FIREWALL_DIRECTORY {
            return stem(".fw").map(TreeFile::Guest);
        }
        if directory == VNET_DIRECTORY {
            return stem(".fw").map(TreeFile::Vnet);
        }
        let node = directory.strip_prefix(NODES_DIRECTORY)?.strip_prefix('/')?;
        match node.split_once('/') {
            None => (name == HOST_FILE).then_some(TreeFile::Host(node)),
            Some((node, directory)) => {
                let kind = GuestKind::ALL.into_iter().find(|kind| guest_directory_name(*kind) == directory)?;
                stem(".conf").map(|id| TreeFile::GuestConfig { node, kind, id })
            }
        }
    }

    /// Whether Proxmox VE would use this file name: with a VMID, or a vnet name of letters, digits, `-` and `_`.
    #[must_use]
    pub fn has_valid_name(self) -> bool {
        match self {
            TreeFile::Guest(id) | TreeFile::GuestConfig { id, .. } => parse_vmid(id).is_some(),
            TreeFile::Vnet(name) => {
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            }
            TreeFile::VmList | TreeFile::Members | TreeFile::Corosync | TreeFile::Cluster | TreeFile::Host(_) => true,
            TreeFile::SdnRunning | TreeFile::IpamState | TreeFile::IpamDatabase => true,
        }
    }

    /// The kind of a firewall file; `None` for other files.
    #[must_use]
    pub fn firewall_kind(self) -> Option<FileKind> {
        match self {
            TreeFile::Cluster => Some(FileKind::Cluster),
            TreeFile::Host(_) => Some(FileKind::Host),
            TreeFile::Guest(_) => Some(FileKind::Guest),
            TreeFile::Vnet(_) => Some(FileKind::Vnet),
            TreeFile::VmList | TreeFile::Members | TreeFile::Corosync | TreeFile::GuestConfig { .. } => None,
            TreeFile::SdnRunning | TreeFile::IpamState | TreeFile::IpamDatabase => None,
        }
    }

    /// The path as text, without a formatter: a large node has thousands.
    #[must_use]
    pub fn path(self) -> String {
        match self {
            TreeFile::VmList => VMLIST.to_string(),
            TreeFile::Members => MEMBERS.to_string(),
            TreeFile::Corosync => COROSYNC.to_string(),
            TreeFile::Cluster => CLUSTER.to_string(),
            TreeFile::SdnRunning => SDN_RUNNING.to_string(),
            TreeFile::IpamState => IPAM_STATE.to_string(),
            TreeFile::IpamDatabase => IPAM_DATABASE.to_string(),
            TreeFile::Host(node) => [NODES_DIRECTORY, "/", node, "/", HOST_FILE].concat(),
            TreeFile::Guest(id) => [FIREWALL_DIRECTORY, "/", id, ".fw"].concat(),
            TreeFile::Vnet(name) => [VNET_DIRECTORY, "/", name, ".fw"].concat(),
            TreeFile::GuestConfig { node, kind, id } => {
                [NODES_DIRECTORY, "/", node, "/", guest_directory_name(kind), "/", id, ".conf"].concat()
            }
        }
    }

    /// The VMID of the guest whose file it is.
    #[must_use]
    pub fn vmid(self) -> Option<u32> {
        match self {
            TreeFile::Guest(id) | TreeFile::GuestConfig { id, .. } => parse_vmid(id),
            _ => None,
        }
    }

    /// Whether compiling for a node depends on the file.
    #[must_use]
    pub fn is_needed_on(self, own_node: &str) -> bool {
        let of_node = match self {
            TreeFile::Host(node) | TreeFile::GuestConfig { node, .. } => node == own_node,
            _ => true,
        };
        of_node && self.has_valid_name()
    }
}

impl fmt::Display for TreeFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_paths_are_parsed() {
        for (path, needed) in [
            (".vmlist", true),
            (".members", true),
            ("corosync.conf", true),
            ("firewall/cluster.fw", true),
            ("firewall/100.fw", true),
            ("firewall/0100.fw", false),
            ("firewall/new.fw", false),
            ("sdn/firewall/vnet1.fw", true),
            ("sdn/.running-config", true),
            ("sdn/pve-ipam-state.json", true),
            ("priv/ipam.db", true),
            ("sdn/firewall/a b.fw", false),
            ("nodes/n1/host.fw", true),
            ("nodes/n2/host.fw", false),
            ("nodes/n1/qemu-server/100.conf", true),
            ("nodes/n1/lxc/7.conf", true),
            ("nodes/n2/lxc/7.conf", false),
            ("nodes/n1/lxc/x.conf", false),
        ] {
            let file = TreeFile::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((file.to_string().as_str(), file.is_needed_on("n1")), (path, needed));
        }
        for other in ["", "firewall", "firewall/.fw", "100.fw", "nodes/n1/100.conf", "nodes/host.fw", "a/.vmlist"] {
            assert_eq!(TreeFile::parse(other), None, "{other}");
        }
    }
}
