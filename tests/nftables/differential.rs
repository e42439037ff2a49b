//! Random configurations and packets: the simulator of this backend and the kernel give the same verdict for each.
//!
//! `DIFFERENTIAL=CONFIGURATIONS,PACKETS` and `DIFFERENTIAL_SEED` as in `tests/kernel/differential.rs`. Where the kernel does not
//! track connections in bridges, the table of the guests is not loaded, and only packets between the node and the external
//! host are sent.
use crate::nft_trees;
use crate::random::{VerdictCounts, config, format_files, packets, pools, seeds_and_packets};
use crate::testbed::probe::{Probe, ProbeResult};
use crate::testbed::wire::Wire;
use crate::testbed::{self, Endpoint, TestBed};
use crate::trees;
use fastrand::Rng;
use pve_firewall::iptables::ruleset::RejectWith;
use pve_firewall::model::{CtState, Family, TcpFlags};
use pve_firewall::nftables::apply::Firewall;
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::{Rejection, Ruleset};
use pve_firewall::nftables::simulate::{Answer, Verdict, simulate};
use pve_firewall::simulate::{End, Packet, Sent};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Default number of configurations, and of packets for each.
const DEFAULT_EXTENT: (u64, usize) = (20, 60);
const SEED: u64 = 20_261_129;
/// One of this many random packets is between the node and the external host.
const PACKETS_PER_COMPARED: usize = 15;

#[test]
fn simulator_and_kernel_agree() {
    let (seeds, packets) = seeds_and_packets(DEFAULT_EXTENT, SEED);
    let mut comparison = Comparison::new();
    for seed in seeds.clone() {
        comparison.compare(seed, packets);
    }
    println!("seeds {seeds:?}: {}", comparison.verdicts);
    comparison.verdicts.assert_all_verdicts_occurred();
}

struct Comparison {
    testbed: TestBed,
    wire: Wire,
    firewall: Firewall,
    /// Whether the kernel tracks connections in bridges.
    bridges: bool,
    /// The number of packets by verdict.
    verdicts: VerdictCounts,
}

impl Comparison {
    fn new() -> Self {
        let testbed = TestBed::without_firewall_bridges("nfd");
        let bridges = nft_trees::supports_guest_rules(&testbed.node);
        let wire = Wire::new(&testbed);
        Comparison { testbed, wire, firewall: Firewall::default(), bridges, verdicts: VerdictCounts::default() }
    }

    fn compare(&mut self, seed: u64, packets: usize) {
        let mut rng = Rng::with_seed(seed);
        let mut files = config::config(&mut rng);
        forwarding(&mut rng, &mut files);
        let named: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let mut rules = nft_trees::rules(&trees::tree(&named), &nft_trees::facts());
        if !self.bridges {
            rules.tables.remove(&TableName::Guests);
        }
        let rules = Arc::new(rules);
        let firewall = &mut self.firewall;
        let outcome = self.testbed.node.run(|| firewall.update(&rules));
        assert_eq!(outcome.errors, [""; 0], "seed {seed}\n{}", format_files(&files));
        let mut probes = packets::probes(&mut rng, if self.bridges { packets } else { packets * PACKETS_PER_COMPARED });
        let is_compared = |endpoint: Endpoint| self.bridges || matches!(endpoint, Endpoint::Host | Endpoint::Outside);
        probes.retain(|probe| is_compared(probe.from) && is_compared(probe.to));
        self.flush_connections();
        let results = self.wire.send_probes(&probes);
        for (probe, result) in probes.iter().zip(results) {
            let answer = send(&rules, &probe.packet, probe.from, probe.to);
            self.verdicts.count(name(answer.verdict));
            // a packet may have arrived late in its batch: send it again separately
            if !is_expected_result(&rules, probe, &answer, result) {
                self.flush_connections();
                let result = self.wire.send_probe(probe);
                let (verdict, matched) = (name(answer.verdict), matched(&answer));
                assert!(
                    is_expected_result(&rules, probe, &answer, result),
                    "seed {seed}\n{}\n{probe}\nsimulator: {verdict}\nkernel: {result}\n{matched}",
                    format_files(&files)
                );
            }
        }
    }

    fn flush_connections(&self) {
        self.testbed.node.exec("conntrack -F 2>/dev/null");
    }
}

/// Adds rules for packets that the node or a bridge forwards.
fn forwarding(rng: &mut Rng, files: &mut BTreeMap<String, String>) {
    let action = |rng: &mut Rng| pools::pick(rng, &["ACCEPT", "ACCEPT", "DROP", "REJECT"]);
    let rules = |rng: &mut Rng| {
        let mut text = String::new();
        for _ in 0..rng.usize(..4) {
            let word =
                pools::pick(rng, &["", " -p tcp", " -p udp -dport 53", " -source 10.0.0.0/25", " -dest +dc/web"]);
            writeln!(text, "FORWARD {}{word}", action(rng)).unwrap();
        }
        text
    };
    if rng.bool() {
        let more = rules(rng);
        let policy = format!("[OPTIONS]\npolicy_forward: {}\n", action(rng));
        let cluster = files.get_mut("firewall/cluster.fw").expect("the cluster's file");
        *cluster = cluster.replacen("[OPTIONS]\n", &policy, 1) + &more;
    }
    if rng.bool() {
        let policy = pools::pick(rng, &["ACCEPT", "DROP"]);
        let text = format!("[OPTIONS]\nenable: 1\npolicy_forward: {policy}\n[RULES]\n{}", rules(rng));
        files.insert("sdn/firewall/vmbr0.fw".to_string(), text);
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Drop => "DROP",
        Verdict::Reject(_) => "REJECT",
    }
}

fn send<'a>(rules: &'a Ruleset, packet: &Packet, from: Endpoint, to: Endpoint) -> Answer<'a> {
    simulate(rules, &Sent { packet, from: from.end(), to: to.end(), broadcasts: &testbed::broadcasts() })
}

/// The rules that matched in the simulator, in order.
fn matched(answer: &Answer<'_>) -> String {
    let mut text = String::new();
    for (at, walk) in &answer.walks {
        writeln!(text, "{at}: {}", walk.base).unwrap();
        for step in walk.steps.iter().filter(|step| step.matched) {
            writeln!(text, "  {}: {}", step.chain, step.rule.text()).unwrap();
        }
    }
    text
}

/// Whether the kernel's result is the expected one.
fn is_expected_result(rules: &Ruleset, probe: &Probe, answer: &Answer<'_>, result: ProbeResult) -> bool {
    let with = match answer.verdict {
        Verdict::Accept => return result == ProbeResult::Arrived,
        Verdict::Drop => return result == ProbeResult::Dropped,
        Verdict::Reject(with) => with,
    };
    if has_special_address(&probe.packet) {
        return result != ProbeResult::Arrived;
    }
    let reset_for_reset = with == Rejection::TcpReset && probe.packet.flags.0 & TcpFlags::RST.0 != 0;
    let answered = !reset_for_reset && reply_arrives(rules, probe, answer, with);
    result == if answered { ProbeResult::Rejected(iptables_reject(with)) } else { ProbeResult::Dropped }
}

/// Whether a packet has an unspecified, multicast or broadcast address: kernels differ in whether they reply to those.
fn has_special_address(packet: &Packet) -> bool {
    let single = |address: Option<IpAddr>| {
        let many = pools::not_unicast(Family::V4).iter().any(|one| address == one.parse().ok());
        address.is_some_and(|address| !address.is_multicast() && !address.is_unspecified()) && !many
    };
    !(single(packet.source) && single(packet.dest))
}

/// Whether a reply reaches its destination. A bridge sends its reply to the port from which the packet came; the reply belongs to
/// no connection. The node sends its reply to the source address; the reply belongs to the connection if there is one.
fn reply_arrives(rules: &Ruleset, probe: &Probe, answer: &Answer<'_>, with: Rejection) -> bool {
    let reply = |state| Packet { state: Some(state), ..reply_packet(&probe.packet, with) };
    if answer.walks.last().is_some_and(|(at, _)| at.table == TableName::Guests) {
        // resets from a bridge always pass
        return with == Rejection::TcpReset || passes_in_bridge(rules, &reply(CtState::Invalid), probe.from);
    }
    let state = match probe.packet.state {
        Some(CtState::Invalid) => CtState::Invalid,
        _ => CtState::Established,
    };
    let to = owner(probe.packet.source);
    to == Endpoint::Host || send(rules, &reply(state), Endpoint::Host, to).verdict == Verdict::Accept
}

/// Whether a packet that a bridge itself sends, which is not forwarded from a port, reaches one of its ports.
fn passes_in_bridge(rules: &Ruleset, packet: &Packet, to: Endpoint) -> bool {
    let mut rules = rules.clone();
    rules.tables.get_mut(&TableName::Guests).expect("the table that rejects").chains.remove("forward");
    let from = End::Port { bridge: format!("vmbr{}", to.bridge()), port: "none".to_string() };
    let sent = Sent { packet, from, to: to.end(), broadcasts: &testbed::broadcasts() };
    simulate(&rules, &sent).verdict == Verdict::Accept
}

/// The reply as a packet.
fn reply_packet(packet: &Packet, with: Rejection) -> Packet {
    let (family, protocol, icmp) = match with {
        Rejection::TcpReset => (packet.dest.map_or(Family::V4, Family::of), Packet::TCP, None),
        Rejection::PortUnreachable(Family::V4) => (Family::V4, Packet::ICMP, Some((3, 3))),
        Rejection::PortUnreachable(Family::V6) => (Family::V6, Packet::ICMPV6, Some((1, 4))),
        Rejection::Prohibited(Family::V4) => (Family::V4, Packet::ICMP, Some((3, 10))),
        Rejection::Prohibited(Family::V6) => (Family::V6, Packet::ICMPV6, Some((1, 1))),
    };
    Packet {
        source: packet.dest,
        dest: packet.source,
        sport: packet.dport,
        dport: packet.sport,
        flags: TcpFlags::RST.and(TcpFlags::ACK),
        icmp,
        ..Packet::new(family, protocol)
    }
}

/// The same rejection as an iptables type.
pub fn iptables_reject(with: Rejection) -> RejectWith {
    match with {
        Rejection::TcpReset => RejectWith::TcpReset,
        Rejection::PortUnreachable(Family::V4) => RejectWith::IcmpPortUnreachable,
        Rejection::PortUnreachable(Family::V6) => RejectWith::Icmp6PortUnreachable,
        Rejection::Prohibited(Family::V4) => RejectWith::IcmpHostProhibited,
        Rejection::Prohibited(Family::V6) => RejectWith::Icmp6AdmProhibited,
    }
}

/// The node's route to an address.
fn owner(address: Option<IpAddr>) -> Endpoint {
    let owns = |endpoint: &Endpoint| address.is_some_and(|address| endpoint.addresses().contains(&address));
    Endpoint::ALL.into_iter().find(owns).unwrap_or(Endpoint::Outside)
}
