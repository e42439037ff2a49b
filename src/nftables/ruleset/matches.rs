//! The matches of nft(8) that rules use; `text` renders them.
use super::interval::Interval;
use crate::model::{Family, Interface, MacAddr, TcpFlags};
use crate::nftables::names::Name;
use std::net::Ipv4Addr;

/// Source or destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

impl End {
    /// The field of its address in nft: `saddr` or `daddr`.
    #[must_use]
    pub fn address(self) -> &'static str {
        match self {
            End::Source => "saddr",
            End::Destination => "daddr",
        }
    }

    /// The field of its port in nft: `sport` or `dport`.
    #[must_use]
    pub fn port(self) -> &'static str {
        match self {
            End::Source => "sport",
            End::Destination => "dport",
        }
    }
}

/// Addresses that a packet's address is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addresses {
    /// One address, network or range.
    Interval(Box<Interval>),
    /// A set of the same table, of a family.
    Set(Family, Name),
}

impl Addresses {
    /// The family of the addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Addresses::Interval(interval) => interval.family(),
            Addresses::Set(family, _) => *family,
        }
    }
}

/// The states of connection tracking that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CtState {
    /// `established,related`
    Known,
    /// `invalid`
    Invalid,
    /// `new,invalid`
    NewOrInvalid,
}

/// How a frame is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketType {
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
}

/// One match of a rule. In the bridge family each one is also valid for tagged frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The input interface: `iifname "vmbr0"`.
    InInterface(Interface),
    /// The output interface: `oifname "vmbr0"`.
    OutInterface(Interface),
    /// The packet was generated on the node, such as a reject reply: `meta pkttype host`. Frames that a bridge forwards have the
    /// type `other`. The input interface cannot be used for this, because packets have none in the postrouting hook of a bridge.
    MadeHere,
    /// The IP version: `meta protocol ip`.
    Family(Family),
    /// An ARP message: `meta protocol arp`.
    Arp,
    /// The protocol in the frame, which may be tagged: `meta protocol 0x88cc`.
    Ethertype {
        /// Whether the match is inverted.
        negated: bool,
        /// The ethertype.
        code: u16,
    },
    /// The type field of the frame, which is that of the outer tag if there is one: `ether type 0x8100`. Below 0x0600 it is a
    /// length.
    FrameType {
        /// Whether it must be another.
        negated: bool,
        /// The first and the last one.
        types: (u16, u16),
    },
    /// The frame has another source address: `ether saddr != bc:24:11:00:00:01`.
    NotFromMac(MacAddr),
    /// An ARP message has another sender MAC address: `arp saddr ether != …`.
    NotArpMac(MacAddr),
    /// An ARP message has a sender IP address outside of a range: `arp saddr ip != …`.
    NotArpSource(Ipv4Addr, Ipv4Addr),
    /// The same for a set: `arp saddr ip != @set`.
    NotArpSourceIn(Name),
    /// The IP protocol: `meta l4proto 6`.
    Protocol(u8),
    /// A port of a protocol with ports: `tcp dport 80-85`.
    Port {
        /// The protocol: 6 tcp, 17 udp, 33 dccp, 132 sctp, 136 udplite.
        protocol: u8,
        /// Which port.
        end: End,
        /// The first and the last one.
        ports: (u16, u16),
    },
    /// The same with a set: `tcp dport @ports/…`.
    PortIn {
        /// As for [`Match::Port`].
        protocol: u8,
        /// Which port.
        end: End,
        /// The set.
        set: Name,
    },
    /// An ICMP message: `icmp type 3 icmp code 1`; must follow the matches of family and protocol.
    Icmp {
        /// ICMP or ICMPv6.
        family: Family,
        /// Its type.
        kind: u8,
        /// Its code; `None` is any.
        code: Option<u8>,
    },
    /// An address: `ip saddr 10.0.0.0/8`.
    Address {
        /// Which address.
        end: End,
        /// Whether it must be another.
        negated: bool,
        /// The addresses that it is compared with.
        addresses: Addresses,
    },
    /// The conntrack state: `ct state established,related`.
    Ct(CtState),
    /// The TCP flags: `tcp flags & (fin|syn) == syn`.
    TcpFlags {
        /// Whether the match is inverted.
        negated: bool,
        /// The flags that are compared.
        mask: TcpFlags,
        /// The flags that must be set.
        set: TcpFlags,
    },
    /// An address is a broadcast address in the routing tables: `fib daddr type broadcast`.
    Broadcast(End),
    /// The destination is an anycast address in the routing tables: `fib daddr type anycast`.
    Anycast,
    /// The type of the frame's destination: `meta pkttype broadcast`.
    PacketType(PacketType),
}

impl Match {
    /// The set that it uses.
    #[must_use]
    pub fn set(&self) -> Option<&Name> {
        match self {
            Match::Address { addresses: Addresses::Set(_, name), .. }
            | Match::NotArpSourceIn(name)
            | Match::PortIn { set: name, .. } => Some(name),
            _ => None,
        }
    }
}
