//! Recorded packets, put to the simulator: what became of each under another program, and what is wanted where that differs.
use crate::nft_trees;
use pve_firewall::model::guest::GuestDevice;
use pve_firewall::model::{CtState, Family, MacAddr, TcpFlags};
use pve_firewall::nftables::ruleset::{Rejection, Ruleset};
use pve_firewall::nftables::simulate::{Verdict, simulate};
use pve_firewall::simulate::Sent;
use pve_firewall::simulate::{Cast, End, Frame, GuestPort, Layer, Packet};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The scene and the number, what is seen, what is answered, and why.
type Superseded = (&'static str, u64, &'static [&'static str], &'static [&'static str], u32);

/// Recorded packets for which something else holds by now: by scene and number, with what is seen, what is answered, and
/// the number in the table of divergences from the program that iptables rules are compatible with.
const SUPERSEDED: &[Superseded] = &[
    ("defaults", 50, &["101.0", "102.0", "out"], &[], 29),
    ("defaults", 80, &["100.0", "101.0", "102.0", "host"], &[], 29),
    ("ct-ipfilter", 8, &["201.0", "201.1", "202.0", "out"], &[], 33),
    ("ct-ipfilter", 15, &["201.0", "201.1", "202.0", "host", "out"], &[], 33),
    ("ct-ipfilter", 20, &[], &[], 33),
    ("host-default", 50, &[], &[], 3),
];

/// A node with its guests, and the connections that it knows.
struct Scene {
    ends: BTreeMap<String, (End, BTreeSet<u16>)>,
    /// The addresses of both ends with ports, and whether answers were seen.
    connections: BTreeMap<(Flow, Flow, u8), bool>,
}

type Flow = (Option<IpAddr>, Option<u16>);

fn scene(scene: &Value) -> Scene {
    let mut ends = BTreeMap::new();
    for (name, guest) in scene["guests"].as_object().unwrap() {
        let port = GuestPort {
            device: GuestDevice::parse(guest["dev"].as_str().unwrap()).unwrap(),
            bridge: guest["bridge"].as_str().unwrap().to_string(),
            firewalled: false,
        };
        let number = |value: &Value| u16::try_from(value.as_u64().unwrap()).unwrap();
        let vlans = match (&guest["tag"], &guest["trunks"]) {
            (Value::Number(_), _) => BTreeSet::from([number(&guest["tag"])]),
            (_, Value::Array(trunks)) => trunks.iter().map(number).chain([0]).collect(),
            _ => BTreeSet::from([0]),
        };
        ends.insert(name.clone(), (End::Guest(port), vlans));
    }
    let aware = ends.values().any(|(_, vlans)| vlans.iter().any(|vlan| *vlan != 0));
    if !aware {
        ends.values_mut().for_each(|(_, vlans)| vlans.extend(0..4095));
    }
    let outside = End::Port { bridge: "vmbr0".into(), port: "eno1".into() };
    ends.insert("out".to_string(), (outside, (0..4095).collect()));
    ends.insert("host".to_string(), (End::Host, BTreeSet::from([0])));
    Scene { ends, connections: BTreeMap::new() }
}

fn bridge(end: &End) -> Option<&str> {
    match end {
        End::Host => None,
        End::Port { bridge, .. } => Some(bridge),
        End::Guest(guest) => Some(&guest.bridge),
    }
}

/// Bytes from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn at<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().unwrap()
    }

    fn number(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.at(at))
    }
}

/// The packet in a frame, and its VLAN.
fn parse(frame: &[u8]) -> (Packet, u16) {
    let bytes = Bytes(frame);
    let cast = match frame[..6] {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => Cast::Broadcast,
        [first, ..] if first & 1 == 1 => Cast::Multicast,
        _ => Cast::Unicast,
    };
    let (mut at, mut vlan) = (12, 0);
    let tagged = bytes.number(at) == 0x8100;
    if tagged {
        vlan = bytes.number(at + 2) & 0xfff;
        at += 4;
    }
    let (ethertype, payload) = (bytes.number(at), Bytes(&frame[at + 2..]));
    let mut packet = match ethertype {
        0x0800 => {
            let mut packet = transport(Family::V4, payload.0[9], &payload.0[20..]);
            packet.source = Some(Ipv4Addr::from(payload.at::<4>(12)).into());
            packet.dest = Some(Ipv4Addr::from(payload.at::<4>(16)).into());
            packet
        }
        0x86dd => {
            let mut packet = transport(Family::V6, payload.0[6], &payload.0[40..]);
            packet.source = Some(Ipv6Addr::from(payload.at::<16>(8)).into());
            packet.dest = Some(Ipv6Addr::from(payload.at::<16>(24)).into());
            packet
        }
        0x0806 => {
            let source = Some(Ipv4Addr::from(payload.at::<4>(14)).into());
            let mut packet = Packet { source, ..Packet::arp() };
            packet.frame.arp_mac = Some(MacAddr(payload.at(8)));
            packet
        }
        other => Packet { layer: Layer::Other(other), state: None, ..Packet::arp() },
    };
    packet.mac = Some(MacAddr(bytes.at(6)));
    packet.frame = Frame { cast, tagged, ..packet.frame };
    (packet.first_of_its_connection(), vlan)
}

fn transport(family: Family, protocol: u8, bytes: &[u8]) -> Packet {
    let mut packet = Packet { flags: TcpFlags::NONE, ..Packet::new(family, protocol) };
    let bytes = Bytes(bytes);
    if matches!(protocol, 6 | 17 | 132) {
        packet.sport = Some(bytes.number(0));
        packet.dport = Some(bytes.number(2));
    }
    if protocol == 6 {
        packet.flags = TcpFlags(bytes.0[13] & 63);
    }
    if matches!((family, protocol), (Family::V4, 1) | (Family::V6, 58)) {
        packet.icmp = Some((bytes.0[0], bytes.0[1]));
    }
    packet
}

/// A packet that the node itself sends.
fn from_host(send: &Value, scenes: &Value) -> Packet {
    let proto = send["proto"].as_str().unwrap();
    let number = |key: &str| send[key].as_u64().and_then(|value| u16::try_from(value).ok());
    let v6 = send["v6"] == true || proto == "icmpv6" || send["dst"].as_str().is_some_and(|dst| dst.contains(':'));
    let family = if v6 { Family::V6 } else { Family::V4 };
    let protocol = match proto {
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        "sctp" => 132,
        other => panic!("{other}"),
    };
    let mut packet = Packet::new(family, protocol);
    let to = send["to"].as_str().unwrap();
    let own = scenes["guests"][to][if v6 { "ip6" } else { "ip4" }].as_str();
    let dest = send["dst"].as_str().or(own).unwrap_or(if v6 { "fd00::fe" } else { "10.0.0.254" });
    packet.dest = Some(dest.parse().unwrap());
    let source = send["src"].as_str().unwrap_or(if v6 { "fd00::1" } else { "10.0.0.1" });
    packet.source = Some(source.parse().unwrap());
    packet.sport = Some(number("sport").unwrap_or(40_000));
    packet.dport = number("dport");
    if let Some(flags) = send["flags"].as_str() {
        let bit = |one: char| "FSRPAU".find(one).map_or(0, |at| 1 << at);
        packet.flags = TcpFlags(flags.chars().map(bit).sum());
    }
    if proto.starts_with("icmp") {
        let byte = |key, default| number(key).map_or(default, |value| u8::try_from(value).unwrap());
        packet.icmp = Some((byte("type", if v6 { 128 } else { 8 }), byte("code", 0)));
    }
    packet.first_of_its_connection()
}

/// The groups that the node is in.
const JOINED: [&str; 3] = ["ff02::1", "224.0.0.1", "255.255.255.255"];

impl Scene {
    /// The ends that the bridges forward a packet to.
    fn targets(&self, from: &str, to: &str, packet: &Packet, vlan: u16) -> Vec<String> {
        let (source, vlans) = &self.ends[from];
        if (*source != End::Host && !vlans.contains(&vlan)) || packet.layer == Layer::Other(0x88cc) {
            return Vec::new();
        }
        let group = packet.dest.is_some_and(|dest| dest.is_multicast());
        let unknown = to != "bcast" && self.ends[to].0 != End::Host && !self.ends[to].1.contains(&vlan);
        let flooded = to == "bcast" || packet.frame.cast != Cast::Unicast || group || unknown;
        let reached = |name: &&String| {
            let (end, vlans) = &self.ends[*name];
            if !flooded || *end == End::Host {
                let heard = packet.dest.is_some_and(|dest| JOINED.contains(&dest.to_string().as_str()));
                // what is not IP is not counted on the node
                let counted = *end != End::Host || (matches!(packet.layer, Layer::Ip(_)) && !packet.frame.tagged);
                return counted && (*name == to || (flooded && !unknown && heard));
            }
            let same = *source == End::Host || bridge(end) == bridge(source);
            same && vlans.contains(&vlan)
        };
        self.ends.keys().filter(|name| *name != from).filter(reached).cloned().collect()
    }

    /// The places that a packet reaches, and the answers of the firewall to it.
    fn send(&mut self, rules: &Ruleset, send: &Value, packet: &Packet, vlan: u16) -> (Vec<String>, Vec<String>) {
        let (from, to) = (send["from"].as_str().unwrap(), send["to"].as_str().unwrap());
        let (source, vlans) = self.ends[from].clone();
        let vlan = if vlans.len() == 1 { *vlans.first().unwrap() } else { vlan };
        let mut packet = packet.clone();
        let flow = ((packet.source, packet.sport), (packet.dest, packet.dport), packet.protocol);
        let back = (flow.1, flow.0, flow.2);
        let known = self.connections.contains_key(&back) || self.connections.get(&flow) == Some(&true);
        if known && packet.sport.is_some() {
            packet.state = Some(CtState::Established);
        }
        let targets = self.targets(from, to, &packet, vlan);
        let (mut seen, mut replies) = (Vec::new(), BTreeSet::new());
        let broadcasts = BTreeSet::from([Ipv4Addr::new(10, 0, 0, 255)]);
        for name in targets {
            let to = self.ends[&name].0.clone();
            let sent = Sent { packet: &packet, from: source.clone(), to, broadcasts: &broadcasts };
            match simulate(rules, &sent).verdict {
                Verdict::Accept => seen.push(name),
                Verdict::Drop => {}
                Verdict::Reject(with) => {
                    replies.insert(reply(with));
                }
            }
        }
        // nobody listens on the node: its answer to a TCP packet ends the connection
        let ended = seen == ["host"] && packet.protocol == Packet::TCP;
        if !seen.is_empty() && packet.sport.is_some() && !ended {
            match self.connections.get_mut(&back) {
                Some(answered) => *answered = true,
                None => {
                    self.connections.entry(flow).or_insert(false);
                }
            }
        }
        seen.sort();
        (seen, replies.into_iter().map(ToString::to_string).collect())
    }
}

fn reply(with: Rejection) -> &'static str {
    match with {
        Rejection::TcpReset => "tcp-reset",
        Rejection::PortUnreachable(Family::V4) => "icmp 3/3",
        Rejection::PortUnreachable(Family::V6) => "icmpv6 1/4",
        Rejection::Prohibited(Family::V4) => "icmp 3/10",
        Rejection::Prohibited(Family::V6) => "icmpv6 1/1",
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn each_recorded_packet_has_the_fate_that_is_wanted() {
    let read = |name: &str| std::fs::read_to_string(nft_trees::folder().join(name)).unwrap();
    let scenes: Value = serde_json::from_str(&read("scenes.json")).unwrap();
    let scenes = scenes.as_array().unwrap();
    let mut rules: BTreeMap<String, Ruleset> = BTreeMap::new();
    let (mut current, mut name, mut wrong) = (None, String::new(), Vec::new());
    for line in read("packets.jsonl").lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let send = &recorded["send"];
        let own = recorded["scene"].as_str().unwrap();
        let described = scenes.iter().find(|scene| scene["name"] == own).unwrap();
        if name != own {
            name = own.to_string();
            current = Some(scene(described));
        }
        let tree = recorded["tree"].as_str().unwrap();
        let rules = rules
            .entry(tree.to_string())
            .or_insert_with(|| nft_trees::rules(&nft_trees::recorded(tree), &nft_trees::facts()));
        let (packet, vlan) = match recorded["frame"].as_str() {
            Some(frame) => parse(&hex(frame)),
            None => (from_host(send, described), 0),
        };
        let got = current.as_mut().unwrap().send(rules, send, &packet, vlan);
        let list = |value: &Value| {
            let mut all: Vec<_> =
                value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_string()).collect();
            all.sort();
            all
        };
        let number = recorded["n"].as_u64().unwrap();
        let superseded = SUPERSEDED.iter().find(|(scene, n, ..)| *scene == own && *n == number);
        let wanted = match (superseded, &recorded["want"]) {
            (Some((_, _, seen, reply, _)), _) => {
                let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
                (texts(seen), texts(reply))
            }
            (None, Value::Null) => (list(&recorded["peer"]["seen"]), list(&recorded["peer"]["reply"])),
            (None, wanted) => (list(&wanted["seen"]), list(&wanted["reply"])),
        };
        if got != wanted {
            wrong.push(format!("{own} {number}: {send} wanted {wanted:?}, got {got:?} ({})", recorded["why"]));
        }
    }
    assert!(wrong.is_empty(), "{} packets:\n{}", wrong.len(), wrong.join("\n"));
}
