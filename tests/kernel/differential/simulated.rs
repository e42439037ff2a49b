//! The expected result of a probe according to the simulator.
//!
//! The reply to a rejected packet is filtered on its path back.
use crate::random::pools;
use crate::testbed::probe::{Probe, ProbeResult};
use crate::testbed::{self, DEVICES, Endpoint};
use pve_firewall::iptables::ruleset::{CtState, Family, RejectWith, Ruleset, TcpFlags};
use pve_firewall::iptables::simulate::{Answer, End, Hop, Packet, Verdict, simulate};
use pve_firewall::simulate::Sent;
use std::net::IpAddr;

/// Simulates a probe.
pub fn simulate_probe<'a>(ruleset: &'a Ruleset, probe: &Probe) -> Answer<'a> {
    send(ruleset, &probe.packet, probe.from.end(), probe.to.end())
}

fn send<'a>(ruleset: &'a Ruleset, packet: &Packet, from: End, to: End) -> Answer<'a> {
    simulate(ruleset, &Sent { packet, from, to, broadcasts: &testbed::broadcasts() })
}

/// Whether the kernel's result is the expected one.
pub fn is_expected_result(ruleset: &Ruleset, probe: &Probe, answer: &Answer<'_>, result: ProbeResult) -> bool {
    let Verdict::Reject(with) = answer.verdict else {
        return result == if answer.verdict == Verdict::Accept { ProbeResult::Arrived } else { ProbeResult::Dropped };
    };
    if has_special_address(&probe.packet) {
        return result != ProbeResult::Arrived;
    }
    let reset_for_reset = with == RejectWith::TcpReset && probe.packet.flags.0 & TcpFlags::RST.0 != 0;
    let rejected = !reset_for_reset && reply_arrives(ruleset, probe, answer, with);
    result == if rejected { ProbeResult::Rejected(with) } else { ProbeResult::Dropped }
}

/// Whether a packet has an unspecified, multicast or broadcast address: kernels differ in whether they reply to those.
fn has_special_address(packet: &Packet) -> bool {
    let single = |address: Option<IpAddr>| {
        let many = pools::not_unicast(Family::V4).iter().any(|one| address == one.parse().ok());
        address.is_some_and(|address| !address.is_multicast() && !address.is_unspecified()) && !many
    };
    !(single(packet.source) && single(packet.dest))
}

/// Whether a reply reaches its destination.
///
/// A packet that is rejected at its first hook creates no connection that an ICMP error could be related to. An RST ends the
/// connection at its first hook (nf_conntrack_proto_tcp.c), so that on the next bridge it belongs to none. Any other reply
/// belongs to the connection, except where the packet is invalid and has none.
fn reply_arrives(ruleset: &Ruleset, probe: &Probe, answer: &Answer<'_>, with: RejectWith) -> bool {
    let reset = with == RejectWith::TcpReset;
    if reset && probe.packet.state == Some(CtState::Invalid) && probe.from == Endpoint::Host && answer.hops.len() > 1 {
        return is_accepted(ruleset, probe, with, Endpoint::Host, probe.to.bridge());
    }
    let routed = answer.hops.iter().any(|passage| matches!(passage.hop, Hop::Route { .. }));
    let to = match (answer.hops.len(), reset) {
        (1, false) => owner(probe.packet.source),
        (2 | 3, true) if routed => owner(probe.packet.source),
        // bridges send it back to the actual sender, regardless of its source address
        (3, true) => probe.from,
        _ => return true,
    };
    !is_firewalled(to) || is_accepted(ruleset, probe, with, to, to.bridge())
}

/// Whether a reply that belongs to no connection is accepted on its way over a bridge.
fn is_accepted(ruleset: &Ruleset, probe: &Probe, with: RejectWith, to: Endpoint, bridge: usize) -> bool {
    let packet = reply_packet(&probe.packet, with, to);
    let behind = End::Port { bridge: format!("vmbr{bridge}"), port: "eno".to_string() };
    send(ruleset, &packet, behind, to.end()).verdict == Verdict::Accept
}

/// The reply as a packet.
fn reply_packet(packet: &Packet, with: RejectWith, to: Endpoint) -> Packet {
    let (family, source, icmp) = match with {
        RejectWith::TcpReset => {
            let family = packet.dest.map_or(Family::V4, Family::of);
            (family, packet.dest, None)
        }
        RejectWith::IcmpPortUnreachable => (Family::V4, None, Some((3, 3))),
        RejectWith::IcmpHostUnreachable => (Family::V4, None, Some((3, 1))),
        RejectWith::IcmpHostProhibited => (Family::V4, None, Some((3, 10))),
        RejectWith::Icmp6PortUnreachable => (Family::V6, None, Some((1, 4))),
        RejectWith::Icmp6AdmProhibited => (Family::V6, None, Some((1, 1))),
    };
    let protocol = match (icmp, family) {
        (None, _) => Packet::TCP,
        (Some(_), Family::V4) => Packet::ICMP,
        (Some(_), Family::V6) => Packet::ICMPV6,
    };
    Packet {
        source: source.or(Some(node_on(to.bridge(), family))),
        dest: packet.source,
        sport: packet.dport,
        dport: packet.sport,
        flags: TcpFlags::RST.and(TcpFlags::ACK),
        icmp,
        state: Some(CtState::Invalid),
        ..Packet::new(family, protocol)
    }
}

/// The node's address on a bridge.
fn node_on(bridge: usize, family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => format!("10.0.{bridge}.1"),
        Family::V6 => format!("fd00:0:0:{bridge}::1"),
    };
    text.parse().expect("an address")
}

fn is_firewalled(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Guest(index) if DEVICES[index].firewalled)
}

/// The node's route to an address.
fn owner(address: Option<IpAddr>) -> Endpoint {
    let owns = |endpoint: &Endpoint| address.is_some_and(|address| endpoint.addresses().contains(&address));
    Endpoint::ALL.into_iter().find(owns).unwrap_or(Endpoint::Outside)
}
