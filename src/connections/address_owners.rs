//! The owner of an address: the node, a guest, or another host.
//!
//! Connection tracking stores addresses but no devices. The addresses of guests are derived from their configuration, from the
//! node's neighbour tables by MAC address, and from IPv6 addresses that contain a MAC address.
use crate::inputs::Tree;
use crate::model::MacAddr;
use crate::node::routes::{Route, interface_to};
use crate::node::{self, Link, routes};
use crate::paths::VMLIST;
use crate::simulate::{End, GuestPort};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The interface for an address without a route.
const DEFAULT_BRIDGE: &str = "vmbr0";

/// The node's network according to the kernel.
#[derive(Clone, Debug, Default)]
pub struct NodeNetwork {
    /// The node's own addresses.
    pub own: BTreeSet<IpAddr>,
    /// The IP and MAC addresses of its neighbours.
    pub neighbours: Vec<(IpAddr, [u8; 6])>,
    /// The content of `/proc/net/route`.
    pub routes_v4: String,
    /// The content of `/proc/net/ipv6_route`.
    pub routes_v6: String,
}

/// The owners of addresses.
#[derive(Debug)]
pub struct AddressOwners {
    own: BTreeSet<IpAddr>,
    ports: Vec<GuestPort>,
    /// The index in `ports` by address; `None` for several owners.
    guests: HashMap<IpAddr, Option<usize>>,
    macs: HashMap<[u8; 6], Option<usize>>,
    routes: Vec<Route>,
    broadcasts: BTreeSet<Ipv4Addr>,
}

/// The owner of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// The node.
    Host,
    /// A guest's device.
    Guest(&'a GuestPort),
    /// Several devices.
    Several,
    /// Another host.
    Elsewhere,
    /// Multicast or broadcast.
    Group,
}

impl AddressOwners {
    /// The owners for this node, with the guests in its configuration.
    #[must_use]
    pub fn new(tree: &Tree, node: &str, node_network: NodeNetwork) -> Self {
        let NodeNetwork { own, neighbours, routes_v4, routes_v6 } = node_network;
        let mut owners = AddressOwners {
            own,
            ports: Vec::new(),
            guests: HashMap::new(),
            macs: HashMap::new(),
            routes: routes::v4(&routes_v4).chain(routes::v6(&routes_v6)).collect(),
            broadcasts: node::broadcasts(&routes_v4),
        };
        for guest in node::listed(tree.content(VMLIST), node, tree.files.keys().map(|path| &**path)) {
            let conf = tree.content(&guest.conf(node)).unwrap_or_default();
            for link in node::links(conf, &guest) {
                owners.add(link);
            }
        }
        // a guest's configuration has priority over the neighbour tables
        let from_neighbours: BTreeMap<IpAddr, Option<usize>> =
            neighbours.iter().filter_map(|(address, mac)| Some((*address, *owners.macs.get(mac)?))).collect();
        for (address, port) in from_neighbours {
            owners.guests.entry(address).or_insert(port);
        }
        owners
    }

    fn add(&mut self, link: Link) {
        let Link { device, bridge, firewalled, mac, addresses } = link;
        // a device without a bridge has no connections
        let Some(bridge) = bridge else { return };
        let port = self.ports.len();
        self.ports.push(GuestPort { device, bridge, firewalled });
        for address in addresses {
            self.guests.entry(address).and_modify(|known| *known = None).or_insert(Some(port));
        }
        if let Some(MacAddr(mac)) = mac {
            self.macs.entry(mac).and_modify(|known| *known = None).or_insert(Some(port));
        }
    }

    /// The owner of an address.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Owner<'_> {
        let group = match address {
            IpAddr::V4(v4) => v4.is_broadcast() || v4.is_unspecified() || self.broadcasts.contains(&v4),
            IpAddr::V6(v6) => v6.is_unspecified(),
        };
        if group || address.is_multicast() {
            return Owner::Group;
        }
        if address.is_loopback() || self.own.contains(&address) {
            return Owner::Host;
        }
        let of_mac = || mac_within(address).and_then(|mac| self.macs.get(&mac));
        match self.guests.get(&address).or_else(of_mac) {
            Some(Some(port)) => Owner::Guest(&self.ports[*port]),
            Some(None) => Owner::Several,
            None => Owner::Elsewhere,
        }
    }

    /// The endpoint for another host, by the route to it.
    #[must_use]
    pub fn outside(&self, address: IpAddr) -> End {
        let interface = interface_to(&self.routes, address).unwrap_or(DEFAULT_BRIDGE);
        End::Port { bridge: interface.to_string(), port: "outside".to_string() }
    }

    /// The broadcast addresses of the node's networks.
    #[must_use]
    pub fn broadcasts(&self) -> &BTreeSet<Ipv4Addr> {
        &self.broadcasts
    }
}

/// The MAC address in an IPv6 address (RFC 4291, appendix A), if it can contain one.
fn mac_within(address: IpAddr) -> Option<[u8; 6]> {
    let octets = match address {
        IpAddr::V4(_) => return None,
        IpAddr::V6(address) => Ipv6Addr::octets(&address),
    };
    match octets[8..] {
        [first, b, c, 0xff, 0xfe, d, e, f] => Some([first ^ 0x02, b, c, d, e, f]),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::inputs::File;

    /// The configuration of two VMs and a container.
    pub fn tree() -> Tree {
        let files = [
            ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:00:64,bridge=vmbr0,firewall=1\n"),
            (
                "nodes/n1/qemu-server/101.conf",
                "net0: virtio=BC:24:11:00:00:65,bridge=vmbr1\nipconfig0: ip=10.0.1.101/24\n",
            ),
            (
                "nodes/n1/lxc/200.conf",
                "net0: name=eth0,hwaddr=BC:24:11:00:00:C8,bridge=vmbr0,firewall=1,ip=10.0.0.200/24\n",
            ),
        ];
        let file = |(path, text): (&str, &str)| (path.into(), File::Content(text.as_bytes().into()));
        Tree { root: "/etc/pve".into(), files: files.map(file).into() }
    }

    /// A node with the address 10.0.0.1 and these guests.
    pub fn owners() -> AddressOwners {
        let node_network = NodeNetwork {
            own: ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap()).into(),
            neighbours: vec![
                ("10.0.0.100".parse().unwrap(), [0xbc, 0x24, 0x11, 0, 0, 0x64]),
                ("10.0.0.7".parse().unwrap(), [2, 0, 0, 0, 0, 7]),
                // a false neighbour entry for an address in a guest's configuration
                ("10.0.0.200".parse().unwrap(), [0xbc, 0x24, 0x11, 0, 0, 0x64]),
            ],
            routes_v4: "i\tD\tG\tF\tR\tU\tM\tMask\n\
                eno2\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                vmbr0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                .into(),
            routes_v6: String::new(),
        };
        AddressOwners::new(&tree(), "n1", node_network)
    }

    #[test]
    fn addresses_are_assigned_to_the_node_a_guest_or_another_host() {
        let owners = owners();
        let of = |address: &str| match owners.owner(address.parse().unwrap()) {
            Owner::Guest(port) => port.device.to_string(),
            other => format!("{other:?}"),
        };
        for (address, owner) in [
            ("10.0.0.1", "Host"),
            ("127.3.2.1", "Host"),
            ("fd00::1", "Host"),
            ("10.0.0.100", "tap100i0"),
            ("10.0.1.101", "tap101i0"),
            ("10.0.0.200", "veth200i0"),
            // by the MAC address in it
            ("fd00::be24:11ff:fe00:64", "tap100i0"),
            ("fe80::be24:11ff:fe00:c8", "veth200i0"),
            ("fd00::be24:11ff:fe00:99", "Elsewhere"),
            ("10.0.0.7", "Elsewhere"),
            ("10.0.0.255", "Group"),
            ("224.0.0.251", "Group"),
            ("255.255.255.255", "Group"),
            ("ff02::1", "Group"),
            ("0.0.0.0", "Group"),
        ] {
            assert_eq!(of(address), owner, "{address}");
        }
    }

    #[test]
    fn outside_is_selected_by_route() {
        let owners = owners();
        for (address, interface) in [("10.0.0.7", "vmbr0"), ("192.0.2.7", "eno2"), ("fd01::7", "vmbr0")] {
            let End::Port { bridge, .. } = owners.outside(address.parse().unwrap()) else { panic!() };
            assert_eq!(bridge, interface, "{address}");
        }
    }
}
