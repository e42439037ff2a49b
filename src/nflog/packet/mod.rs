//! The fields of a packet, from its network header.
mod arp;
mod icmp;
mod ipv4;
mod ipv6;
mod transport;

pub(super) use ipv6::has_extension_header;

use super::log_fields::Fields;
use super::message::LoggedPacket;

/// `NFPROTO_…` (`linux/netfilter.h`).
mod family {
    pub const IPV4: u8 = 2;
    pub const ARP: u8 = 3;
    pub const IPV6: u8 = 10;
}

/// `ETH_P_…` (`linux/if_ether.h`).
mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const IPV6: u16 = 0x86dd;
}

/// The protocol of a packet's first header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetworkProtocol {
    Ipv4,
    Ipv6,
    Arp,
}

impl NetworkProtocol {
    /// The protocol of this packet; `None` if it is another one. In the bridge and netdev families, which receive all kinds of
    /// frames, the EtherType decides.
    pub fn of(packet: &LoggedPacket<'_>) -> Option<Self> {
        Some(match (packet.family, packet.protocol) {
            (family::IPV4, _) => NetworkProtocol::Ipv4,
            (family::IPV6, _) => NetworkProtocol::Ipv6,
            (family::ARP, _) => NetworkProtocol::Arp,
            (_, ethertype::IPV4) => NetworkProtocol::Ipv4,
            (_, ethertype::IPV6) => NetworkProtocol::Ipv6,
            (_, ethertype::ARP) => NetworkProtocol::Arp,
            _ => return None,
        })
    }
}

/// Appends the packet's fields. An unknown protocol has none.
pub(super) fn push(packet: &LoggedPacket<'_>, fields: &mut Fields<'_>) {
    match NetworkProtocol::of(packet) {
        Some(NetworkProtocol::Ipv4) => ipv4::push(packet.payload, fields),
        Some(NetworkProtocol::Ipv6) => ipv6::push(packet.payload, fields),
        Some(NetworkProtocol::Arp) => arp::push(packet.payload, fields),
        None => {}
    }
}
