//! Recorded packets: where each was received and which replies were sent under proxmox-firewall, and the intended differences.
use crate::nft_trees;
use pve_firewall::model::{Family, MacAddr, TcpFlags};
use pve_firewall::simulate::{Cast, Frame, Layer, Packet};
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A recorded packet. The packets of a scene were sent one after the other.
pub struct Recorded {
    pub scene: String,
    /// Its number in the scene.
    pub number: u64,
    /// The configuration whose rules are live.
    pub tree: String,
    /// The description of the packet, as recorded.
    pub send: Value,
    /// The bytes of its frame; `None` for a packet that the node sends.
    pub frame: Option<Vec<u8>>,
    pub packet: Packet,
    pub vlan: u16,
    /// The endpoints that it reaches, sorted.
    pub seen: Vec<String>,
    /// The firewall's replies to it, sorted.
    pub replies: Vec<String>,
    /// The number of the difference from the recorded program, if the result is different.
    pub why: Option<u64>,
}

impl Recorded {
    pub fn from(&self) -> &str {
        self.send["from"].as_str().unwrap()
    }

    pub fn to(&self) -> &str {
        self.send["to"].as_str().unwrap()
    }
}

/// The intended differences from the recorded program, by the number in `docs/nftables.md`, which recorded packets refer to.
pub const DIFFERENCES: &[(u64, &str)] = &[
    (1, "a rule whose parameters cannot match together matches nothing"),
    (4, "corosync is accepted only from nodes of the cluster"),
    (5, "sources in the blacklist are dropped"),
    (6, "an ipfilter set filters without the option"),
    (7, "MAC and IP filters come before known connections and ICMP errors, for tagged frames too"),
    (8, "DHCP passes the IP filter"),
    (9, "users' rules for the node come before the management ports and the silent drops"),
    (10, "policy_out DROP keeps the cluster together"),
    (11, "migration ports and the ports of the iptables backend are open"),
    (13, "protection_synflood drops SYN above the rate and nothing else"),
    (14, "a TCP reset that answers a guest reaches it"),
    (15, "REJECT answers as PVEFW-reject does"),
    (16, "rules for ICMP match tagged frames"),
    (17, "neighbour discovery passes a vnet that drops, as ARP does"),
    (18, "of the entries of a set that contain an address, the longest prefix decides"),
    (29, "layer2_protocols filters other ethertypes"),
];

/// The scene and number of a packet, where it arrives, the replies, and the reason.
type Superseded = (&'static str, u64, &'static [&'static str], &'static [&'static str], u32);

/// Recorded packets whose expected result was changed later: scene and number, where the packet arrives, the replies, and the
/// number of the divergence from pve-firewall (`tests/it/divergences.rs`).
const SUPERSEDED: &[Superseded] = &[
    ("defaults", 50, &["101.0", "102.0", "out"], &[], 29),
    ("defaults", 80, &["100.0", "101.0", "102.0", "host"], &[], 29),
    ("ct-ipfilter", 8, &["201.0", "201.1", "202.0", "out"], &[], 33),
    ("ct-ipfilter", 15, &["201.0", "201.1", "202.0", "host", "out"], &[], 33),
    ("ct-ipfilter", 20, &[], &[], 33),
    ("host-default", 50, &[], &[], 3),
];

/// All recorded packets, in order.
pub fn all() -> Vec<Recorded> {
    let scenes = scenes();
    let text = std::fs::read_to_string(nft_trees::directory().join("packets.jsonl")).unwrap();
    text.lines().map(|line| recorded(&serde_json::from_str(line).unwrap(), &scenes)).collect()
}

/// The scenes: their names, guests and bridges.
pub fn scenes() -> Vec<Value> {
    let text = std::fs::read_to_string(nft_trees::directory().join("scenes.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn recorded(line: &Value, scenes: &[Value]) -> Recorded {
    let text = |key: &str| line[key].as_str().unwrap().to_string();
    let (name, number) = (text("scene"), line["n"].as_u64().unwrap());
    let described = scenes.iter().find(|scene| scene["name"] == *name).unwrap();
    let frame = line["frame"].as_str().map(hex);
    let (packet, vlan) = frame.as_deref().map_or_else(|| (from_host(&line["send"], described), 0), parse);
    let list = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_string()).collect()
    };
    let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let superseded = SUPERSEDED.iter().find(|(scene, n, ..)| *scene == name && *n == number);
    let (mut seen, mut replies) = match (superseded, &line["want"]) {
        (Some((_, _, seen, replies, _)), _) => (texts(seen), texts(replies)),
        (None, Value::Null) => (list(&line["peer"]["seen"]), list(&line["peer"]["reply"])),
        (None, wanted) => (list(&wanted["seen"]), list(&wanted["reply"])),
    };
    seen.sort();
    replies.sort();
    let (tree, send, why) = (text("tree"), line["send"].clone(), line["why"].as_u64());
    Recorded { scene: name, number, tree, send, frame, packet, vlan, seen, replies, why }
}

/// Reads bytes from the beginning.
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

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn each_difference_of_a_recorded_packet_is_listed_and_each_listed_one_has_packets() {
    let mut numbers: Vec<u64> = all().iter().filter_map(|recorded| recorded.why).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, DIFFERENCES.iter().map(|(number, _)| *number).collect::<Vec<_>>());
}
