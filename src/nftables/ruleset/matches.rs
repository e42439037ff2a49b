//! Matches: what must hold of a packet.
use super::interval::Interval;
use crate::model::{Family, Interface, MacAddr, TcpFlags};
use crate::nftables::names::Name;
use std::net::Ipv4Addr;

/// Which end of a packet a match is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

impl End {
    /// The field with its address, as nft calls it.
    #[must_use]
    pub fn address(self) -> &'static str {
        match self {
            End::Source => "saddr",
            End::Destination => "daddr",
        }
    }

    /// The field with its port, as nft calls it.
    #[must_use]
    pub fn port(self) -> &'static str {
        match self {
            End::Source => "sport",
            End::Destination => "dport",
        }
    }
}

/// Addresses that are matched against.
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

/// A state of connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CtState {
    /// The packet belongs to a connection that has seen packets both ways, or begins one that another announced.
    Known,
    /// The packet is not associated with a known connection (`INVALID`).
    Invalid,
    /// The packet begins a connection, or belongs to none that makes sense.
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

/// What must hold of a packet. In the bridge family each is right for tagged frames too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It enters by the interface: `iifname "vmbr0"`.
    InInterface(Interface),
    /// It leaves by the interface: `oifname "vmbr0"`.
    OutInterface(Interface),
    /// It entered by no port of the bridge, as the answers that the node itself makes there: `meta pkttype host`. Frames that a
    /// bridge forwards are to another host. The input interface does not show it: behind a bridge no packet has one.
    MadeHere,
    /// It is of an IP version: `meta protocol ip`.
    Family(Family),
    /// It is an ARP message: `meta protocol arp`.
    Arp,
    /// What its frame carries, tagged or not: `meta protocol 0x88cc`.
    Ethertype {
        /// Whether it must be another.
        negated: bool,
        /// The ethertype.
        code: u16,
    },
    /// The type of its frame, which is that of the outer tag if there is one, is in a range: `ether type 0x8100`. Below 0x0600
    /// it is a length.
    FrameType {
        /// Whether it must be another.
        negated: bool,
        /// The first and the last one.
        types: (u16, u16),
    },
    /// The frame's sender is another: `ether saddr != bc:24:11:00:00:01`.
    NotFromMac(MacAddr),
    /// The sender that an ARP message names has another MAC: `arp saddr ether != …`.
    NotArpMac(MacAddr),
    /// The sender that an ARP message names has an address outside of a range: `arp saddr ip != …`.
    NotArpSource(Ipv4Addr, Ipv4Addr),
    /// The same for a set: `arp saddr ip != @set`.
    NotArpSourceIn(Name),
    /// Its IP protocol: `meta l4proto 6`.
    Protocol(u8),
    /// One of its ports, of a protocol that has ports: `tcp dport 80-85`.
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
    /// An ICMP message: `icmp type 3 icmp code 1`; stands behind the family and the protocol, which it needs.
    Icmp {
        /// ICMP or ICMPv6.
        family: Family,
        /// Its type.
        kind: u8,
        /// Its code; `None` is any.
        code: Option<u8>,
    },
    /// One of its addresses: `ip saddr 10.0.0.0/8`.
    Address {
        /// Which address.
        end: End,
        /// Whether it must be another.
        negated: bool,
        /// What it is compared with.
        addresses: Addresses,
    },
    /// Its state in connection tracking: `ct state established,related`.
    Ct(CtState),
    /// Its TCP flags: `tcp flags & (fin|syn) == syn`.
    TcpFlags {
        /// Whether they must be others.
        negated: bool,
        /// The flags that are looked at.
        mask: TcpFlags,
        /// The flags that must be set.
        set: TcpFlags,
    },
    /// One of its addresses is a broadcast address by the routing tables: `fib daddr type broadcast`.
    Broadcast(End),
    /// Its receiver is an anycast address by the routing tables: `fib daddr type anycast`.
    Anycast,
    /// How its frame is addressed: `meta pkttype broadcast`.
    PacketType(PacketType),
}

impl Match {
    /// The set that it is about.
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
