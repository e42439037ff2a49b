//! Probes: packets and their observed result.
use super::Endpoint;
use pve_firewall::iptables::ruleset::{CtState, Family, MacAddr, RejectWith, TcpFlags};
use pve_firewall::iptables::simulate::{Layer, Packet};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// A packet with its source and destination.
#[derive(Clone, Debug)]
pub struct Probe {
    pub from: Endpoint,
    pub to: Endpoint,
    /// The destination MAC address; `None` is that of the receiver.
    pub dest_mac: Option<MacAddr>,
    pub encapsulation: Encapsulation,
    pub packet: Packet,
}

/// How a frame encapsulates an IP packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encapsulation {
    /// Directly in an Ethernet frame.
    #[default]
    Plain,
    /// With a VLAN tag (IEEE 802.1Q); VLAN 0 is a priority tag (802.1p).
    Vlan(u16),
    /// With a service tag and a VLAN tag (IEEE 802.1ad).
    QinQ(u16, u16),
    /// In a PPPoE session (RFC 2516).
    Pppoe,
    /// Behind LLC and SNAP headers (RFC 1042).
    Snap,
}

/// The key of a connection in connection tracking: the protocol, both endpoints, and the number of an ICMP message.
pub type Connection = (u8, [(Option<IpAddr>, Option<u16>); 2], usize);

/// Checks the results of packets of different connections; `results` sends them.
#[track_caller]
pub fn check(cases: &[(Probe, ProbeResult)], results: impl FnOnce(&[Probe]) -> Vec<ProbeResult>) {
    let probes: Vec<_> = cases.iter().map(|(probe, _)| probe.clone()).collect();
    let different: BTreeSet<_> = (0..).zip(&probes).map(|(number, probe)| probe.connection(number)).collect();
    assert_eq!(different.len(), probes.len(), "two packets belong to one connection: give them different ports");
    let wrong = cases.iter().zip(results(&probes)).filter(|((_, wanted), result)| result != wanted);
    let wrong: Vec<_> = wrong.map(|((probe, wanted), result)| format!("{probe}\n  {result}, not {wanted}")).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The observed result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// It arrived.
    Arrived,
    /// It did not arrive, and its sender got a reply.
    Rejected(RejectWith),
    /// It did not arrive, without a reply.
    Dropped,
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeResult::Arrived => f.write_str("arrived"),
            ProbeResult::Rejected(with) => write!(f, "rejected with {with}"),
            ProbeResult::Dropped => f.write_str("dropped"),
        }
    }
}

impl Probe {
    /// A packet of a protocol between the first addresses of two endpoints.
    pub fn new(from: Endpoint, to: Endpoint, family: Family, protocol: u8) -> Self {
        let address = |endpoint: Endpoint| match family {
            Family::V4 => endpoint.addresses()[0],
            Family::V6 => endpoint.addresses()[1],
        };
        let mut packet = Packet::new(family, protocol);
        packet.source = Some(address(from));
        packet.dest = Some(address(to));
        Probe { from, to, dest_mac: None, encapsulation: Encapsulation::Plain, packet }
    }

    /// A TCP SYN.
    pub fn tcp(from: Endpoint, to: Endpoint, family: Family, dport: u16) -> Self {
        Probe::new(from, to, family, Packet::TCP).ports(40_000, dport)
    }

    pub fn udp(from: Endpoint, to: Endpoint, family: Family, dport: u16) -> Self {
        Probe::new(from, to, family, Packet::UDP).ports(40_000, dport)
    }

    pub fn icmp(from: Endpoint, to: Endpoint, kind: u8) -> Self {
        Probe::new(from, to, Family::V4, Packet::ICMP).message(kind, 0)
    }

    pub fn icmpv6(from: Endpoint, to: Endpoint, kind: u8) -> Self {
        Probe::new(from, to, Family::V6, Packet::ICMPV6).message(kind, 0)
    }

    /// An ARP request.
    pub fn arp(from: Endpoint, to: Endpoint) -> Self {
        Probe::frame(from, to, Layer::Arp)
    }

    /// A frame that carries no IP packet.
    pub fn frame(from: Endpoint, to: Endpoint, layer: Layer) -> Self {
        let Probe { packet, .. } = Probe::new(from, to, Family::V4, 0);
        let packet = Packet { layer, state: None, ..packet };
        Probe { from, to, dest_mac: None, encapsulation: Encapsulation::Plain, packet }
    }

    #[must_use]
    pub fn ports(mut self, sport: u16, dport: u16) -> Self {
        (self.packet.sport, self.packet.dport) = (Some(sport), Some(dport));
        self.packet = self.packet.first_of_its_connection();
        self
    }

    #[must_use]
    pub fn message(mut self, kind: u8, code: u8) -> Self {
        self.packet.icmp = Some((kind, code));
        self.packet = self.packet.first_of_its_connection();
        self
    }

    #[must_use]
    pub fn flags(mut self, flags: TcpFlags) -> Self {
        self.packet.flags = flags;
        self.packet = self.packet.first_of_its_connection();
        self
    }

    #[must_use]
    pub fn source(mut self, address: &str) -> Self {
        self.packet.source = Some(parsed(address));
        self
    }

    #[must_use]
    pub fn dest(mut self, address: &str) -> Self {
        self.packet.dest = Some(parsed(address));
        self
    }

    /// Sends to the source address and port.
    #[must_use]
    pub fn back_to_source(mut self) -> Self {
        (self.packet.dest, self.packet.dport) = (self.packet.source, self.packet.sport);
        self
    }

    #[must_use]
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.packet.mac = Some(mac);
        self
    }

    #[must_use]
    pub fn dest_mac(mut self, mac: MacAddr) -> Self {
        self.dest_mac = Some(mac);
        self
    }

    #[must_use]
    pub fn encapsulated(mut self, encapsulation: Encapsulation) -> Self {
        self.encapsulation = encapsulation;
        self.packet.frame.tagged = matches!(encapsulation, Encapsulation::Vlan(_));
        self
    }

    /// Its key in connection tracking: probes with equal keys in one batch would be one connection.
    pub fn connection(&self, number: usize) -> Connection {
        let packet = &self.packet;
        let mut ends = [(packet.source, packet.sport), (packet.dest, packet.dport)];
        ends.sort_unstable();
        // each message has its own identifier; only IP is tracked
        let own = packet.icmp.is_some() || !matches!(packet.layer, Layer::Ip(_));
        let message = if own { number + 1 } else { 0 };
        (packet.protocol, ends, message)
    }
}

fn parsed(address: &str) -> IpAddr {
    address.parse().unwrap_or_else(|_| panic!("'{address}' is not an address"))
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packet { mac, source, dest, protocol, sport, dport, flags, icmp, state, .. } = &self.packet;
        let (from, to) = (self.from, self.to);
        write!(f, "{from:?} -> {to:?}, {:?}, protocol {protocol}", self.packet.layer)?;
        for (end, address, port) in [("from", source, sport), ("to", dest, dport)] {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
            write!(f, ", {end} {address}{port}")?;
        }
        if *protocol == Packet::TCP {
            write!(f, ", flags {flags}")?;
        }
        if let Some((kind, code)) = icmp {
            write!(f, ", message {kind}/{code}")?;
        }
        if self.encapsulation != Encapsulation::Plain {
            write!(f, ", in {:?}", self.encapsulation)?;
        }
        if let Some(mac) = mac {
            write!(f, ", from MAC {}", super::text(*mac))?;
        }
        write!(f, ", {}", state.as_ref().map_or_else(|| "untracked".into(), CtState::to_string))
    }
}
