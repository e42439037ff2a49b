//! The names in the two tables of this backend, formatted and parsed in this module only.
//!
//! Names are not quoted in nft scripts, so they contain only letters, digits, `_`, `-`, `.` and `/`.
use crate::model::{Direction, Family, MAX_LOGGED_CHAIN};
use ecow::{EcoString, eco_format};
use std::fmt;

/// The maximum length of a name in the kernel (`NFT_NAME_MAXLEN` without the terminating zero), in bytes.
const MAX_LENGTH: usize = 255;

/// The name of a chain, set, map or helper in a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(EcoString);

impl Name {
    /// `None` if nft does not accept the text as a name: a letter, then letters, digits and `_-./`; at most 255 bytes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let letter = text.starts_with(|first: char| first.is_ascii_alphabetic());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
        (letter && text.len() <= MAX_LENGTH && text.bytes().all(plain)).then(|| Name(text.into()))
    }

    /// A constant name.
    pub(super) fn fixed(text: &'static str) -> Self {
        Name::new(text).expect("a constant name is a word")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a chain in log prefixes: without `/queue-0-3`, and not longer than pvefw-logger accepts. The name of a group
    /// remains complete.
    #[must_use]
    pub fn logged(&self) -> &str {
        let name = self.0.split('/').next().unwrap_or_default();
        &name[..name.len().min(MAX_LOGGED_CHAIN)]
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// The two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    /// `inet proxmox-firewall`: packets that the node receives, sends and routes.
    Host,
    /// `bridge proxmox-firewall-guests`: packets that guests send and receive, and bridged packets.
    Guests,
}

impl TableName {
    /// Both, in the order in which they are written.
    pub const ALL: [TableName; 2] = [TableName::Host, TableName::Guests];

    /// The address family of the table, as nft names it.
    #[must_use]
    pub const fn family(self) -> &'static str {
        match self {
            TableName::Host => "inet",
            TableName::Guests => "bridge",
        }
    }

    /// The name without the family.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            TableName::Host => "proxmox-firewall",
            TableName::Guests => "proxmox-firewall-guests",
        }
    }
}

impl fmt::Display for TableName {
    /// `inet proxmox-firewall`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family(), self.as_str())
    }
}

/// The end of chain names: `in`, `out` or `forward`.
fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Forward => "forward",
    }
}

/// `guest-100-in`: the rules of a guest.
#[must_use]
pub fn guest_chain(vmid: u32, direction: Direction) -> Name {
    Name(eco_format!("guest-{vmid}-{}", word(direction)))
}

/// The VMID of the guest whose chain has this name.
#[must_use]
pub fn guest_of_chain(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("guest-")?;
    let (vmid, direction) = rest.split_once('-')?;
    ["in", "out"].contains(&direction).then(|| vmid.parse().ok())?
}

/// `group-web-in`: the rules of a security group, by its name in the configuration (letters, digits, `_` and `-`).
#[must_use]
pub fn group_chain(group: &str, direction: Direction) -> Name {
    Name(eco_format!("group-{group}-{}", word(direction)))
}

/// `group-web-in/queue-0-3`: the same rules for guests whose accepted packets are inspected (`ips: 1`).
#[must_use]
pub fn group_chain_to_queue(group: &str, (first, last): (u16, u16)) -> Name {
    Name(eco_format!("group-{group}-in/queue-{first}-{last}"))
}

/// `bridge-vnet0`: the rules of an SDN vnet; `None` if it is not a valid name of a bridge.
#[must_use]
pub fn bridge_chain(vnet: &str) -> Option<Name> {
    Name::new(&format!("bridge-{vnet}")).filter(|_| vnet.len() <= 15)
}

/// `host-in`: the rules of host.fw.
#[must_use]
pub fn host_chain(direction: Direction) -> Name {
    Name(eco_format!("host-{}", word(direction)))
}

/// `cluster-in`: the rules of cluster.fw, followed by the policy.
#[must_use]
pub fn cluster_chain(direction: Direction) -> Name {
    Name(eco_format!("cluster-{}", word(direction)))
}

/// The owner of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetOwner {
    /// cluster.fw: `dc`.
    Cluster,
    /// A guest's file: `guest-100`.
    Guest(u32),
    /// The SDN configuration: `sdn`.
    Sdn,
}

/// `v4-dc/management`: a set of the configuration, in one family.
#[must_use]
pub fn set_name(owner: SetOwner, name: &str, family: Family) -> Option<Name> {
    let version = version(family);
    match owner {
        SetOwner::Cluster => Name::new(&format!("{version}-dc/{name}")),
        SetOwner::Guest(vmid) => Name::new(&format!("{version}-guest-{vmid}/{name}")),
        SetOwner::Sdn => Name::new(&format!("{version}-sdn/{name}")),
    }
}

/// `v4-list/0123456789abcdef`: a long list of addresses of a rule, named by its content.
#[must_use]
pub fn address_list(family: Family, digest: u64) -> Name {
    Name(eco_format!("{}-list/{digest:016x}", version(family)))
}

/// `ports/0123456789abcdef`: a long list of ports of a rule, named by its content.
#[must_use]
pub fn port_list(digest: u64) -> Name {
    Name(eco_format!("ports/{digest:016x}"))
}

/// `v4-synflood-limit`: the sources of connections, each with its limit.
#[must_use]
pub fn synflood_set(family: Family) -> Name {
    Name(eco_format!("{}-synflood-limit", version(family)))
}

/// `helper-ftp-tcp`: a connection tracking helper.
#[must_use]
pub fn helper_object(helper: &str, protocol: &str) -> Option<Name> {
    Name::new(&format!("helper-{helper}-{protocol}"))
}

fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// The chain for established and invalid connections, which exists in both tables.
pub const CONNTRACK: &str = "conntrack";
/// The map from devices to the chains for packets to them.
pub const VM_MAP_IN: &str = "vm-map-in";
/// The map from devices to the chains for packets from them.
pub const VM_MAP_OUT: &str = "vm-map-out";
/// The map from bridges to the chains of vnets, in each table.
pub const BRIDGE_MAP: &str = "bridge-map";

/// The base chain of the SYN flood protection.
pub const RAW: &str = "raw";
/// The base chain that assigns conntrack helpers, in each table.
pub const HELPERS: &str = "helpers";
/// The base chain for packets to the node.
pub const INPUT: &str = "input";
/// The base chain for packets from the node.
pub const OUTPUT: &str = "output";
/// The base chain for forwarded packets, in each table.
pub const FORWARD: &str = "forward";
/// The base chain for packets from vnets to the node.
pub const HOST_BRIDGE_INPUT: &str = "host-bridge-input";
/// The base chain for packets from the node to vnets.
pub const HOST_BRIDGE_OUTPUT: &str = "host-bridge-output";
/// The base chain for packets to guests.
pub const VM_IN: &str = "vm-in";
/// The base chain for packets from guests.
pub const VM_OUT: &str = "vm-out";
/// Accepts packets from the set `management`.
pub const ACCEPT_MANAGEMENT: &str = "accept-management";
/// Accepts packets to the ports of `--failsafe`.
pub const FAILSAFE_IN: &str = "failsafe-in";
/// Accepts replies from the ports of `--failsafe`.
pub const FAILSAFE_OUT: &str = "failsafe-out";
/// Accepts ICMP errors.
pub const ALLOW_ICMP: &str = "allow-icmp";
/// Accepts resets that a bridge generates, which have no connection.
pub const ALLOW_RESETS: &str = "allow-resets";
/// Rejects packets.
pub const REJECT: &str = "do-reject";
/// Matches packets from the set `blacklist`.
pub const CHECK_BLACKLIST: &str = "check-blacklist";
/// Logs and drops packets from the set `blacklist`.
pub const BLACKLIST: &str = "blacklist";
/// Accepts received neighbour discovery.
pub const ALLOW_NDP_IN: &str = "allow-ndp-in";
/// Drops received neighbour discovery.
pub const BLOCK_NDP_IN: &str = "block-ndp-in";
/// Accepts sent neighbour discovery.
pub const ALLOW_NDP_OUT: &str = "allow-ndp-out";
/// Drops sent neighbour discovery.
pub const BLOCK_NDP_OUT: &str = "block-ndp-out";
/// Accepts packets from DHCP servers.
pub const ALLOW_DHCP_IN: &str = "allow-dhcp-in";
/// Drops packets from DHCP servers.
pub const BLOCK_DHCP_IN: &str = "block-dhcp-in";
/// Accepts packets from DHCP clients.
pub const ALLOW_DHCP_OUT: &str = "allow-dhcp-out";
/// Drops packets from DHCP clients.
pub const BLOCK_DHCP_OUT: &str = "block-dhcp-out";
/// Accepts sent router advertisements.
pub const ALLOW_RA_OUT: &str = "allow-ra-out";
/// Drops sent router advertisements.
pub const BLOCK_RA_OUT: &str = "block-ra-out";
/// The rules before those of a guest, for packets to it.
pub const PRE_VM_IN: &str = "pre-vm-in";
/// The rules before those of a guest, for packets from it.
pub const PRE_VM_OUT: &str = "pre-vm-out";
/// The rules before those of a vnet.
pub const BEFORE_BRIDGE: &str = "before-bridge";
/// Matches packets from broadcast and multicast addresses.
pub const BLOCK_SMURFS: &str = "block-smurfs";
/// Logs and drops packets from broadcast and multicast addresses.
pub const LOG_SMURFS: &str = "log-smurfs";
/// Matches invalid TCP flags.
pub const BLOCK_INVALID_TCP: &str = "block-invalid-tcp";
/// Logs and drops packets with invalid TCP flags.
pub const LOG_INVALID_TCP: &str = "log-invalid-tcp";
/// The standard chain of policy DROP.
pub const POLICY_DROP: &str = "policy-drop";
/// The standard chain of policy REJECT.
pub const POLICY_REJECT: &str = "policy-reject";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quotes_in_nft() {
        for good in ["v4-dc/management", "guest-100-in", "a", "bridge-eth0.100", "ports/0f"] {
            assert!(Name::new(good).is_some(), "{good}");
        }
        for bad in ["", "9a", "a b", "a;b", "a\"", "ü", "-a", "a*", "a:1", "$a"] {
            assert!(Name::new(bad).is_none(), "{bad}");
        }
        assert!(Name::new(&"x".repeat(256)).is_none());
    }

    #[test]
    fn chains_of_guests_are_recognised() {
        assert_eq!(guest_of_chain(guest_chain(100, Direction::Out).as_str()), Some(100));
        for other in ["guest-100", "guest-x-in", "group-a-in", "guest-1-on", "guest-100-in/x"] {
            assert_eq!(guest_of_chain(other), None, "{other}");
        }
        assert!(bridge_chain("a-name-of-16-byt").is_none() && bridge_chain("vnet0").is_some());
    }
}
