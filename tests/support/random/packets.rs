//! Random packets that a node could receive, valid and spoofed.
use super::pools::{self, once_in, pick};
use crate::testbed::Endpoint;
use crate::testbed::probe::{Encapsulation, Probe};
use crate::testbed::wire::PROTOCOLS;
use fastrand::Rng;
use pve_firewall::iptables::ruleset::{Family, MacAddr, TcpFlags};
use pve_firewall::iptables::simulate::{Layer, Packet};
use std::collections::BTreeSet;

/// Generates packets of different connections.
pub fn probes(rng: &mut Rng, count: usize) -> Vec<Probe> {
    let mut seen = BTreeSet::new();
    let mut probes = Vec::new();
    while probes.len() < count {
        let probe = probe(rng);
        if seen.insert(probe.connection(probes.len())) {
            probes.push(probe);
        }
    }
    probes
}

fn random_endpoints(rng: &mut Rng) -> (Endpoint, Endpoint) {
    loop {
        let endpoint = |rng: &mut Rng| Endpoint::ALL[rng.usize(..Endpoint::ALL.len())];
        let (from, to) = (endpoint(rng), endpoint(rng));
        if from != to {
            return (from, to);
        }
    }
}

/// Ethertypes other than IP and ARP: IPX, both of PPPoE, LLDP, and one for experiments (IEEE 802).
const ETHERTYPES: [u16; 5] = [0x8137, 0x8863, 0x8864, 0x88cc, 0x88b5];
/// A VLAN of tagged packets.
const VLAN: u16 = 5;

fn probe(rng: &mut Rng) -> Probe {
    let (from, to) = random_endpoints(rng);
    let bridged = !is_routed(from, to) && from != Endpoint::Host && to != Endpoint::Host;
    match rng.u32(..15) {
        0 if bridged => maybe_spoofed(rng, Probe::arp(from, to)),
        1 if bridged => {
            let ethertype = ETHERTYPES[rng.usize(..ETHERTYPES.len())];
            maybe_spoofed(rng, Probe::frame(from, to, Layer::Other(ethertype)))
        }
        2 if bridged => ip(rng, from, to).encapsulated(Encapsulation::Vlan(VLAN)),
        _ => ip(rng, from, to),
    }
}

fn ip(rng: &mut Rng, from: Endpoint, to: Endpoint) -> Probe {
    let family = Family::ALL[rng.usize(..2)];
    let probe = match rng.u32(..10) {
        0..=3 => tcp(rng, from, to, family),
        4 | 5 => udp(rng, from, to, family),
        6 | 7 => icmp(rng, from, to, family),
        8 => Probe::tcp(from, to, family, pools::PORTS[rng.usize(..pools::PORTS.len())]),
        _ => Probe::new(from, to, family, PROTOCOLS[rng.usize(..PROTOCOLS.len())]),
    };
    // TCP and UDP packets need ports
    let probe = if probe.packet.sport.is_none() && matches!(probe.packet.protocol, Packet::TCP | Packet::UDP) {
        probe.ports(33_000, 22)
    } else {
        probe
    };
    let probe = maybe_spoofed(rng, probe);
    // a routed packet is sent to the node first
    if is_routed(from, to) { probe.dest_mac(Endpoint::Host.mac()) } else { maybe_other_destination(rng, probe) }
}

/// Whether the node routes a packet from one bridge to the other.
fn is_routed(from: Endpoint, to: Endpoint) -> bool {
    from != Endpoint::Host && to != Endpoint::Host && from.bridge() != to.bridge()
}

fn port(rng: &mut Rng) -> u16 {
    if once_in(rng, 5) { rng.u16(..) } else { pools::PORTS[rng.usize(..pools::PORTS.len())] }
}

fn tcp(rng: &mut Rng, from: Endpoint, to: Endpoint, family: Family) -> Probe {
    let sport = if once_in(rng, 4) { port(rng) } else { rng.u16(1024..) };
    let probe = Probe::new(from, to, family, Packet::TCP).ports(sport, port(rng));
    if once_in(rng, 4) { probe.flags(TcpFlags(rng.u8(..64))) } else { probe }
}

fn udp(rng: &mut Rng, from: Endpoint, to: Endpoint, family: Family) -> Probe {
    let probe = Probe::new(from, to, family, Packet::UDP);
    match (rng.u32(..6), family) {
        (0, Family::V4) => probe.ports(68, 67),
        (1, Family::V4) => probe.ports(67, 68),
        (0, Family::V6) => probe.ports(546, 547),
        (1, Family::V6) => probe.ports(547, 546),
        _ => {
            let sport = if rng.bool() { port(rng) } else { rng.u16(1024..) };
            probe.ports(sport, port(rng))
        }
    }
}

fn icmp(rng: &mut Rng, from: Endpoint, to: Endpoint, family: Family) -> Probe {
    let kinds: &[u8] = match family {
        Family::V4 => &[0, 3, 4, 5, 8, 11, 12, 13, 14, 17, 18],
        Family::V6 => &[1, 2, 3, 4, 128, 129, 133, 134, 135, 136, 137],
    };
    let kind = kinds[rng.usize(..kinds.len())];
    let protocol = if family == Family::V4 { Packet::ICMP } else { Packet::ICMPV6 };
    let code = if matches!(kind, 1 | 3) && rng.bool() { rng.u8(..5) } else { 0 };
    Probe::new(from, to, family, protocol).message(kind, code)
}

/// Some packets have a spoofed source.
fn maybe_spoofed(rng: &mut Rng, probe: Probe) -> Probe {
    let family = family(&probe.packet);
    let from_host = probe.from == Endpoint::Host;
    let probe = match rng.u32(..6) {
        0 if !from_host => probe.source(pick(rng, foreign(family))),
        // a node drops packets with an unspecified or multicast source; bridges forward them
        1 if !from_host && probe.to != Endpoint::Host && !is_routed(probe.from, probe.to) && rng.bool() => {
            let unspecified = if family == Family::V4 { "0.0.0.0" } else { "::" };
            let multicast = pools::not_unicast(family);
            let source = if rng.bool() { unspecified } else { pick(rng, multicast) };
            probe.source(source)
        }
        _ => probe,
    };
    if once_in(rng, 12) && !from_host {
        let mac = MacAddr([0x02, 0x77, rng.u8(..), rng.u8(..), rng.u8(..), rng.u8(..)]);
        return probe.mac(mac);
    }
    probe
}

/// Addresses that do not belong to the node.
fn foreign(family: Family) -> &'static [&'static str] {
    &pools::addresses(family)[1..]
}

/// Some packets have another destination than the receiver's first address.
fn maybe_other_destination(rng: &mut Rng, probe: Probe) -> Probe {
    let family = family(&probe.packet);
    match (probe.from, probe.to) {
        (_, Endpoint::Host) if once_in(rng, 8) => {
            let local = if family == Family::V4 { ["10.0.0.255", "224.0.0.1"] } else { ["ff02::1", "fd00:0:0:1::1"] };
            probe.dest(pick(rng, &local))
        }
        (_, Endpoint::Host) | (Endpoint::Host, Endpoint::Guest(_)) => probe,
        (Endpoint::Host, _) if once_in(rng, 3) => {
            let external =
                if family == Family::V4 { ["203.0.113.5", "10.0.0.51"] } else { ["2001:db8::5", "fd00::50"] };
            probe.dest(pick(rng, &external))
        }
        (Endpoint::Host, _) => probe,
        // not to the sender itself: the reply would be equal to the packet
        _ if once_in(rng, 20) => probe.back_to_source(),
        _ if once_in(rng, 4) => probe.dest(pick(rng, foreign(family))),
        _ if once_in(rng, 4) => probe.dest(pick(rng, pools::not_unicast(family))),
        _ => probe,
    }
}

fn family(packet: &Packet) -> Family {
    match packet.layer {
        Layer::Ip(family) => family,
        Layer::Arp | Layer::Other(_) => Family::V4,
    }
}
