//! Reconstructs the first packet of a tracked connection for the simulator.
use super::address_owners::{AddressOwners, Owner};
use crate::model::Family;
use crate::nflog::conntrack::{Connection, Detail, Tuple};
use crate::simulate::{End, GuestPort, Packet};
use std::fmt;
use std::net::IpAddr;

/// A connection's first packet with its source and destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    /// The packet.
    pub packet: Packet,
    /// The source.
    pub from: End,
    /// The destination.
    pub to: End,
}

/// Why a connection cannot be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotSimulated {
    /// Neither address is known to belong to the node or one of its guests.
    Elsewhere,
    /// An address belongs to several guests.
    Several,
    /// Its destination is multicast or broadcast.
    Group,
    /// Its addresses are translated between the guest's and the host's rules.
    Translated,
    /// It is related to a connection that is no longer tracked.
    MasterUntracked,
}

impl FirstPacket {
    /// The first packet of a connection.
    ///
    /// # Errors
    /// When it cannot be determined.
    pub fn of(connection: &Connection, owners: &AddressOwners) -> Result<Self, NotSimulated> {
        let Connection { original, reply, .. } = connection;
        let dest_translated = reply.source != original.dest || ports(reply).0 != ports(original).1;
        let source_translated = reply.dest != original.source || ports(reply).1 != ports(original).0;
        // the addresses in the table `filter`: DNAT is done before it, SNAT after it
        let (dest, dport) = match dest_translated {
            true => (reply.source, ports(reply).0),
            false => (original.dest, ports(original).1),
        };
        let (one, other) = (owners.owner(original.source), owners.owner(dest));
        let firewalled = |owner| matches!(owner, Owner::Guest(port) if port.firewalled);
        if (dest_translated && firewalled(one)) || (source_translated && firewalled(other)) {
            return Err(NotSimulated::Translated);
        }
        let (from, to) = ends(owners, (one, original.source), (other, dest))?;
        let icmp = match original.detail {
            Detail::Icmp { kind, code, .. } => Some((kind, code)),
            Detail::Ports { .. } | Detail::Keys { .. } | Detail::None => None,
        };
        let packet = Packet {
            source: Some(original.source),
            dest: Some(dest),
            sport: ports(original).0,
            dport,
            icmp,
            ..Packet::new(Family::of(original.source), original.protocol)
        };
        Ok(FirstPacket { packet: packet.first_of_its_connection(), from, to })
    }
}

/// The ports of a tuple, source first.
fn ports(tuple: &Tuple) -> (Option<u16>, Option<u16>) {
    match tuple.detail {
        Detail::Ports { source, dest } => (Some(source), Some(dest)),
        Detail::Keys { .. } | Detail::Icmp { .. } | Detail::None => (None, None),
    }
}

fn ends(
    owners: &AddressOwners,
    (one, source): (Owner<'_>, IpAddr),
    (other, dest): (Owner<'_>, IpAddr),
) -> Result<(End, End), NotSimulated> {
    let guest = |port: &GuestPort| End::Guest(port.clone());
    // outside is at the uplink of the guest's bridge
    let beyond = |port: &GuestPort| End::Port { bridge: port.bridge.clone(), port: "outside".to_string() };
    Ok(match (one, other) {
        (Owner::Several, _) | (_, Owner::Several) => return Err(NotSimulated::Several),
        (Owner::Group, _) | (_, Owner::Group) => return Err(NotSimulated::Group),
        (Owner::Elsewhere, Owner::Elsewhere) => return Err(NotSimulated::Elsewhere),
        (Owner::Host, Owner::Host) => (End::Host, End::Host),
        (Owner::Host, Owner::Elsewhere) => (End::Host, owners.outside(dest)),
        (Owner::Elsewhere, Owner::Host) => (owners.outside(source), End::Host),
        (Owner::Host, Owner::Guest(port)) => (End::Host, guest(port)),
        (Owner::Guest(port), Owner::Host) => (guest(port), End::Host),
        (Owner::Guest(port), Owner::Elsewhere) => (guest(port), beyond(port)),
        (Owner::Elsewhere, Owner::Guest(port)) => (beyond(port), guest(port)),
        (Owner::Guest(one), Owner::Guest(other)) => (guest(one), guest(other)),
    })
}

impl fmt::Display for NotSimulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotSimulated::Elsewhere => {
                "between addresses that are not known to be the node's or a guest's of this node"
            }
            NotSimulated::Several => "of an address that several guests have",
            NotSimulated::Group => "to multicast and broadcast addresses",
            NotSimulated::Translated => "whose addresses are translated between the guest's and the host's rules",
            NotSimulated::MasterUntracked => "related to a connection that is no longer tracked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::address_owners::tests::owners;
    use super::*;

    fn tuple(source: &str, dest: &str) -> Tuple {
        let ends = [source, dest].map(|text| text.parse::<std::net::SocketAddr>().unwrap());
        let detail = Detail::Ports { source: ends[0].port(), dest: ends[1].port() };
        Tuple { source: ends[0].ip(), dest: ends[1].ip(), protocol: 6, detail }
    }

    fn connection(original: Tuple, reply: Tuple) -> Connection {
        Connection { id: Some(1), ..Connection::between(original, reply) }
    }

    fn simulated(original: (&str, &str), reply: (&str, &str)) -> String {
        let connection = connection(tuple(original.0, original.1), tuple(reply.0, reply.1));
        let name = |end: End| match end {
            End::Host => "host".to_string(),
            End::Port { bridge, port } => format!("{bridge}/{port}"),
            End::Guest(port) => port.device.to_string(),
        };
        match FirstPacket::of(&connection, &owners()) {
            Ok(FirstPacket { packet, from, to }) => {
                let (dest, dport) = (packet.dest.unwrap(), packet.dport.unwrap());
                format!("{} {}: {dest} {dport}", name(from), name(to))
            }
            Err(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn each_pair_of_endpoints_has_its_path() {
        for (source, dest, way) in [
            ("10.0.0.7:40000", "10.0.0.1:22", "vmbr0/outside host: 10.0.0.1 22"),
            ("192.0.2.7:40000", "10.0.0.1:22", "eno2/outside host: 10.0.0.1 22"),
            ("10.0.0.1:40000", "192.0.2.7:22", "host eno2/outside: 192.0.2.7 22"),
            ("127.0.0.1:40000", "127.0.0.1:85", "host host: 127.0.0.1 85"),
            ("10.0.0.7:40000", "10.0.0.100:22", "vmbr0/outside tap100i0: 10.0.0.100 22"),
            ("10.0.0.200:40000", "192.0.2.7:22", "veth200i0 vmbr0/outside: 192.0.2.7 22"),
            ("10.0.0.100:40000", "10.0.0.200:22", "tap100i0 veth200i0: 10.0.0.200 22"),
            ("10.0.0.1:40000", "10.0.1.101:22", "host tap101i0: 10.0.1.101 22"),
            ("10.0.0.7:40000", "192.0.2.7:22", "Elsewhere"),
            ("10.0.0.7:40000", "10.0.0.255:137", "Group"),
        ] {
            assert_eq!(simulated((source, dest), (dest, source)), way, "{source} {dest}");
        }
    }

    #[test]
    fn translated_addresses_are_those_seen_by_the_rules() {
        // a port of the node that is forwarded to a guest
        let (outside, node, guest) = ("192.0.2.7:40000", "10.0.0.1:8080", "10.0.0.100:80");
        assert_eq!(simulated((outside, node), (guest, outside)), "vmbr0/outside tap100i0: 10.0.0.100 80");
        // the same with source NAT, so that the guest replies to the node
        assert_eq!(simulated((outside, node), (guest, "10.0.0.1:40000")), "Translated");
        // a port of the node that is redirected to another port
        assert_eq!(simulated((outside, node), ("10.0.0.1:80", outside)), "eno2/outside host: 10.0.0.1 80");
        // a guest with source NAT to the node's address
        assert_eq!(
            simulated(("10.0.0.100:40000", "192.0.2.7:80"), ("192.0.2.7:80", "10.0.0.1:40000")),
            "tap100i0 vmbr0/outside: 192.0.2.7 80"
        );
        // a guest whose destination is translated
        assert_eq!(simulated(("10.0.0.100:40000", "192.0.2.7:80"), ("10.0.0.7:80", "10.0.0.100:40000")), "Translated");
    }
}
