//! The fields of a packet, from its network header.
mod arp;
mod icmp;
mod ipv4;
mod ipv6;
mod transport;

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

/// Appends the packet's fields. In the bridge and netdev families, which receive all kinds of frames, the EtherType decides. An
/// unknown protocol has no fields.
pub(super) fn push(packet: &LoggedPacket<'_>, fields: &mut Fields<'_>) {
    match (packet.family, packet.protocol) {
        (family::IPV4, _) => ipv4::push(packet.payload, fields),
        (family::IPV6, _) => ipv6::push(packet.payload, fields),
        (family::ARP, _) => arp::push(packet.payload, fields),
        (_, ethertype::IPV4) => ipv4::push(packet.payload, fields),
        (_, ethertype::IPV6) => ipv6::push(packet.payload, fields),
        (_, ethertype::ARP) => arp::push(packet.payload, fields),
        _ => {}
    }
}
