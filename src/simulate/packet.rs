//! The simulated packet.
use crate::model::{CtState, Family, MacAddr, TcpFlags};
use std::net::IpAddr;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An IP packet: filtered by ebtables, then by iptables or ip6tables.
    Ip(Family),
    /// An ARP frame: filtered by ebtables only. Its addresses are the protocol addresses in the ARP packet.
    Arp,
    /// A frame of another ethertype.
    Other(u16),
}

/// How a frame is addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cast {
    /// Unicast.
    #[default]
    Unicast,
    /// Multicast.
    Multicast,
    /// Broadcast.
    Broadcast,
}

/// The properties of a packet's frame besides its source MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// How it is addressed.
    pub cast: Cast,
    /// Whether it has a VLAN tag.
    pub tagged: bool,
    /// The sender's MAC address in an ARP message; `None` is that of the frame.
    pub arp_mac: Option<MacAddr>,
}

/// A packet. A field that is `None` is unknown: a rule with a match on it does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The kind of the frame.
    pub layer: Layer,
    /// The frame that carries it.
    pub frame: Frame,
    /// The source MAC address; `None` is that of the sender.
    pub mac: Option<MacAddr>,
    /// The source address.
    pub source: Option<IpAddr>,
    /// The destination address.
    pub dest: Option<IpAddr>,
    /// The IP protocol, by number.
    pub protocol: u8,
    /// The source port, for protocols with ports.
    pub sport: Option<u16>,
    /// The destination port, for protocols with ports.
    pub dport: Option<u16>,
    /// The flags of a TCP packet.
    pub flags: TcpFlags,
    /// Type and code of an ICMP or ICMPv6 message.
    pub icmp: Option<(u8, u8)>,
    /// The conntrack state; `None` is untracked, which matches no state.
    pub state: Option<CtState>,
}

impl Packet {
    /// ICMP, and ICMPv6.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;

    /// A packet that starts a connection, with all other fields unknown; with TCP, a SYN.
    #[must_use]
    pub fn new(family: Family, protocol: u8) -> Self {
        Packet {
            layer: Layer::Ip(family),
            frame: Frame::default(),
            mac: None,
            source: None,
            dest: None,
            protocol,
            sport: None,
            dport: None,
            flags: TcpFlags::SYN,
            icmp: None,
            state: Some(CtState::New),
        }
    }

    /// An ARP frame.
    #[must_use]
    pub fn arp() -> Self {
        Packet { layer: Layer::Arp, state: None, ..Packet::new(Family::V4, 0) }
    }

    /// Whether a reply to the packet would be identical to it: at its second hook, connection tracking classifies it as the
    /// reply.
    #[must_use]
    pub fn is_its_own_answer(&self) -> bool {
        self.source.is_some() && self.source == self.dest && self.sport == self.dport && self.icmp.is_none()
    }

    /// Sets the conntrack state of a packet that belongs to no known connection.
    ///
    /// As in nf_conntrack_proto_tcp.c, _icmp.c and _icmpv6.c of Linux: a TCP connection starts with a SYN, or is picked up
    /// by an ACK (`nf_conntrack_tcp_loose`); an ICMP request is new, and any other ICMP message without a connection is
    /// invalid; neighbour and listener discovery are not tracked.
    #[must_use]
    pub fn first_of_its_connection(mut self) -> Self {
        self.state = match (self.layer, self.protocol, self.icmp) {
            (Layer::Arp | Layer::Other(_), ..) => None,
            (Layer::Ip(_), Self::TCP, _) => Some(if opens(self.flags) { CtState::New } else { CtState::Invalid }),
            (Layer::Ip(Family::V4), Self::ICMP, Some((kind, _))) => {
                Some(if matches!(kind, 8 | 13 | 15 | 17) { CtState::New } else { CtState::Invalid })
            }
            (Layer::Ip(Family::V6), Self::ICMPV6, Some((kind, _))) => match kind {
                130..=136 | 143 => None,
                128 | 139 => Some(CtState::New),
                _ => Some(CtState::Invalid),
            },
            (Layer::Ip(_), ..) => Some(CtState::New),
        };
        self
    }
}

/// Whether a TCP packet with these flags can create a connection. PSH is ignored.
fn opens(flags: TcpFlags) -> bool {
    let flags = TcpFlags(flags.0 & !TcpFlags::PSH.0);
    let urgent = |one: TcpFlags| [one, one.and(TcpFlags::URG)];
    urgent(TcpFlags::SYN).into_iter().chain(urgent(TcpFlags::ACK)).any(|one| one == flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_packets_have_the_conntrack_state_of_the_kernel() {
        let state = |packet: Packet| packet.first_of_its_connection().state;
        let tcp = |flags| Packet { flags, ..Packet::new(Family::V4, Packet::TCP) };
        let (fin, syn, ack) = (TcpFlags::FIN, TcpFlags::SYN, TcpFlags::ACK);
        for flags in [syn, ack, syn.and(TcpFlags::URG), ack.and(TcpFlags::PSH)] {
            assert_eq!(state(tcp(flags)), Some(CtState::New), "{flags}");
        }
        for flags in [TcpFlags::NONE, fin, syn.and(ack), syn.and(fin), TcpFlags::RST, fin.and(ack)] {
            assert_eq!(state(tcp(flags)), Some(CtState::Invalid), "{flags}");
        }
        let message = |family, protocol, kind| Packet { icmp: Some((kind, 0)), ..Packet::new(family, protocol) };
        for (family, protocol, kind, wanted) in [
            (Family::V4, Packet::ICMP, 8, Some(CtState::New)),
            (Family::V4, Packet::ICMP, 0, Some(CtState::Invalid)),
            (Family::V4, Packet::ICMP, 3, Some(CtState::Invalid)),
            (Family::V6, Packet::ICMPV6, 128, Some(CtState::New)),
            (Family::V6, Packet::ICMPV6, 1, Some(CtState::Invalid)),
            (Family::V6, Packet::ICMPV6, 135, None),
        ] {
            assert_eq!(state(message(family, protocol, kind)), wanted, "{protocol} {kind}");
        }
        assert_eq!(state(Packet::new(Family::V6, 132)), Some(CtState::New));
        assert_eq!(state(Packet::arp()), None);
    }
}
