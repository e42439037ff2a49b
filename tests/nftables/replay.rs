//! Recorded packets, sent through the kernel with the rules compiled from their configurations.
//!
//! Where the kernel does not track connections in bridges, the table of the guests is not loaded, and only packets between the
//! node and the external host are compared.
use crate::netns::Netns;
use crate::nft_trees;
use crate::recorded::{self, DIFFERENCES, Recorded};
use crate::testbed::frame;
use crate::testbed::wire::{OUTGOING, packet_socket, raw_socket};
use etherparse::{LaxNetSlice, LaxSlicedPacket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use pve_firewall::model::{Family, TcpFlags};
use pve_firewall::nftables::apply::Firewall;
use pve_firewall::nftables::names::TableName;
use pve_firewall::simulate::{Layer, Packet};
use serde_json::Value;
use socket2::Socket;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A packet counts as dropped if nothing arrives for this time; the second value is for packets that are expected to arrive.
const QUIET: Duration = Duration::from_millis(15);
const WAIT_LIMIT: Duration = Duration::from_secs(2);
/// The protocols of the node's raw sockets, in addition to ICMP and ICMPv6.
const PROTOCOLS: [u8; 6] = [2, 6, 17, 47, 50, 132];
/// The beginning and the length of the tag in a recorded packet, and in a packet that the node sends.
const MARKS: [(&[u8], usize); 2] = [(b"probe", 13), (b"pvefwTAG", 12)];
const NODE_SETTINGS: &str = "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
    net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.autoconf=0 net.ipv6.conf.default.accept_ra=0 \
    net.ipv6.conf.default.router_solicitations=0 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 \
    net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=100000 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    for file in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do test ! -e $file || echo 0 >$file; done";
const REMOTE_SETTINGS: &str = "sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1";

/// The format of the packets that a socket receives.
#[derive(Clone, Copy)]
enum Kind {
    Frames,
    V4,
    /// IP payloads without the header.
    V6(u8),
}

/// A node with the guests of a scene.
struct ReplayNode {
    node: Netns,
    /// The namespace with the other ends of all devices.
    _remote: Netns,
    sockets: Vec<(String, Kind, Socket)>,
    host: [Socket; 2],
    firewall: Firewall,
}

/// The result of a packet.
#[derive(Debug, Default, PartialEq, Eq)]
struct PacketResult {
    seen: BTreeSet<String>,
    replies: BTreeSet<String>,
}

impl ReplayNode {
    fn new(scene: &Value, bridges: bool) -> Self {
        let (node, remote) = (Netns::new("nft-replay"), Netns::new("nft-replay-remote"));
        node.exec(NODE_SETTINGS);
        remote.exec(REMOTE_SETTINGS);
        let endpoints = endpoints(scene);
        node.exec(&script(scene, &endpoints, remote.name(), bridges));
        let ends =
            endpoints.keys().map(|endpoint| (endpoint.clone(), remote.run(|| packet_socket(&remote_end(endpoint)))));
        let mut sockets: Vec<_> = ends.map(|(endpoint, socket)| (endpoint, Kind::Frames, socket)).collect();
        let host = |kind, family, protocol| ("host".to_string(), kind, node.run(|| raw_socket(family, protocol)));
        for protocol in PROTOCOLS.into_iter().chain([Packet::ICMP]) {
            sockets.push(host(Kind::V4, Family::V4, protocol));
        }
        for protocol in PROTOCOLS.into_iter().chain([Packet::ICMPV6]) {
            sockets.push(host(Kind::V6(protocol), Family::V6, protocol));
        }
        // IPPROTO_RAW: packets with their headers (raw(7))
        let host = [Family::V4, Family::V6].map(|family| node.run(|| raw_socket(family, 255)));
        ReplayNode { node, _remote: remote, sockets, host, firewall: Firewall::default() }
    }

    fn load(&mut self, tree: &str, bridges: bool) {
        let mut rules = nft_trees::rules(&nft_trees::recorded(tree), &nft_trees::facts());
        if !bridges {
            rules.tables.remove(&TableName::Guests);
        }
        let (firewall, rules) = (&mut self.firewall, Arc::new(rules));
        let outcome = self.node.run(|| firewall.update(&rules));
        assert_eq!(outcome.errors, [""; 0], "{tree}");
    }

    /// Sends a packet, and returns its result.
    fn send(&self, recorded: &Recorded, number: u32, wanted: &PacketResult) -> PacketResult {
        self.read(|_, _, _| ());
        let bytes = match &recorded.frame {
            Some(frame) => {
                let sender = self.sockets.iter().find(|(endpoint, ..)| endpoint == recorded.from());
                sender.expect("the sender").2.send(frame).expect("sending a frame");
                frame.clone()
            }
            None => self.send_from_host(recorded, number),
        };
        let mark = mark(&bytes).expect("each packet has a mark").to_vec();
        let (mut result, began) = (PacketResult::default(), Instant::now());
        while self.arrives() || (result != *wanted && began.elapsed() < WAIT_LIMIT && result.misses(wanted)) {
            self.read(|endpoint, kind, bytes| result.note(recorded, &mark, endpoint, kind, bytes));
        }
        if result.seen.contains("host") {
            // the reply comes from the node itself
            result.replies.clear();
        }
        result
    }

    fn send_from_host(&self, recorded: &Recorded, number: u32) -> Vec<u8> {
        let packet = &recorded.packet;
        let mut bytes = frame::ip(packet, number);
        let v6 = packet.layer == Layer::Ip(Family::V6);
        for (key, at) in [("seq", 4), ("ack", 8)] {
            if let (Some(value), Packet::TCP) = (recorded.send[key].as_u64(), packet.protocol) {
                let at = at + if v6 { 40 } else { 20 };
                bytes[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_be_bytes());
            }
        }
        let to: SocketAddr = (packet.dest.expect("an IP packet"), 0).into();
        // sending fails for a packet that the firewall drops on output
        let _ = self.host[usize::from(v6)].send_to(&bytes, &to.into());
        bytes
    }

    /// Whether a packet arrives before the timeout without traffic.
    fn arrives(&self) -> bool {
        let mut fds: Vec<_> =
            self.sockets.iter().map(|(_, _, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::try_from(QUIET).unwrap()).expect("polling sockets") > 0
    }

    fn read(&self, mut note: impl FnMut(&str, Kind, &[u8])) {
        let mut buffer = [0; 2048];
        for (endpoint, kind, socket) in &self.sockets {
            while let Ok((length, from)) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) {
                let link = from.as_ref().and_then(|from| from.as_link_addr());
                if link.is_none_or(|link| link.pkttype() != OUTGOING) {
                    note(endpoint, *kind, &buffer[..length]);
                }
            }
        }
    }
}

impl PacketResult {
    fn misses(&self, wanted: &PacketResult) -> bool {
        !(self.seen.is_superset(&wanted.seen) && self.replies.is_superset(&wanted.replies))
    }

    fn note(&mut self, recorded: &Recorded, mark: &[u8], endpoint: &str, kind: Kind, bytes: &[u8]) {
        let (protocol, payload) = payload(kind, bytes);
        let at = |bytes: &[u8]| bytes.windows(mark.len()).position(|window| window == mark);
        let from_sender = endpoint == recorded.from();
        match (protocol, payload, at(payload), at(bytes)) {
            (Packet::TCP, tcp, None, None) if from_sender && resets(tcp, &recorded.packet) => {
                self.replies.insert("tcp-reset".to_string());
            }
            // the mark follows the headers of the packet that the error message quotes
            (Packet::ICMP, [3, code, ..], Some(28..), _) if from_sender => {
                self.replies.insert(format!("icmp 3/{code}"));
            }
            (Packet::ICMPV6, [1, code, ..], Some(48..), _) if from_sender => {
                self.replies.insert(format!("icmpv6 1/{code}"));
            }
            (.., Some(_)) if !from_sender => {
                self.seen.insert(endpoint.to_string());
            }
            _ => {}
        }
    }
}

/// Whether a TCP segment is the reset in reply to a packet.
fn resets(tcp: &[u8], packet: &Packet) -> bool {
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let answers = packet.protocol == Packet::TCP && (port(0), port(2)) == (packet.dport, packet.sport);
    answers && tcp.get(13).is_some_and(|flags| flags & TcpFlags::RST.0 != 0)
}

/// The protocol and the payload of a received IP packet; 0 and an empty payload for other frames.
fn payload(kind: Kind, bytes: &[u8]) -> (u8, &[u8]) {
    let sliced = match kind {
        Kind::Frames => LaxSlicedPacket::from_ethernet(bytes).ok(),
        Kind::V4 => LaxSlicedPacket::from_ip(bytes).ok(),
        Kind::V6(protocol) => return (protocol, bytes),
    };
    match sliced.and_then(|sliced| sliced.net) {
        Some(LaxNetSlice::Ipv4(ip)) => (ip.payload().ip_number.0, ip.payload().payload),
        Some(LaxNetSlice::Ipv6(ip)) => (ip.payload().ip_number.0, ip.payload().payload),
        _ => (0, &[]),
    }
}

/// The bytes that identify a sent packet.
fn mark(bytes: &[u8]) -> Option<&[u8]> {
    MARKS.iter().find_map(|(begin, length)| {
        let at = bytes.windows(begin.len()).position(|window| window == *begin)?;
        bytes.get(at..at + length)
    })
}

/// An endpoint with a device.
struct Endpoint {
    device: String,
    bridge: String,
    mac: String,
    addresses: Vec<String>,
    tag: Option<u64>,
    trunks: Vec<u64>,
}

fn endpoints(scene: &Value) -> BTreeMap<String, Endpoint> {
    let mut endpoints = BTreeMap::new();
    for (name, guest) in scene["guests"].as_object().unwrap() {
        let text = |key: &str| guest[key].as_str().unwrap().to_string();
        let trunks = guest["trunks"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let endpoint = Endpoint {
            device: text("dev"),
            bridge: text("bridge"),
            mac: text("mac"),
            addresses: vec![text("ip4"), text("ip6")],
            tag: guest["tag"].as_u64(),
            trunks,
        };
        endpoints.insert(name.clone(), endpoint);
    }
    let outside = Endpoint {
        device: "eno1".to_string(),
        bridge: "vmbr0".to_string(),
        mac: "02:00:00:00:fe:fe".to_string(),
        addresses: ["10.0.0.254", "fd00::fe", "10.0.0.2"].map(str::to_string).to_vec(),
        tag: None,
        trunks: Vec::new(),
    };
    endpoints.insert("out".to_string(), outside);
    endpoints
}

fn remote_end(endpoint: &str) -> String {
    format!("remote{endpoint}")
}

/// The commands that set up the bridges and devices of a scene on the node, with VLANs if the kernel supports them.
fn script(scene: &Value, endpoints: &BTreeMap<String, Endpoint>, remote: &str, vlans: bool) -> String {
    let aware = vlans && endpoints.values().any(|endpoint| endpoint.tag.is_some() || !endpoint.trunks.is_empty());
    let filtering = if aware { " vlan_filtering 1" } else { "" };
    let mut script = String::new();
    let default = BTreeMap::from([("vmbr0".to_string(), vec!["10.0.0.1/24".to_string(), "fd00::1/64".to_string()])]);
    let bridges: BTreeMap<String, Vec<String>> = match &scene["bridges"] {
        Value::Null => default,
        bridges => serde_json::from_value(bridges.clone()).unwrap(),
    };
    for (number, (bridge, addresses)) in (1..).zip(&bridges) {
        writeln!(
            script,
            "ip link add {bridge} address 02:00:00:00:00:{number:02x} type bridge mcast_snooping 0 forward_delay 0{filtering}"
        )
        .unwrap();
        addresses.iter().for_each(|one| writeln!(script, "ip address add {one} dev {bridge}").unwrap());
        writeln!(script, "ip link set {bridge} up").unwrap();
    }
    for (name, Endpoint { device, bridge, mac, addresses, tag, trunks }) in endpoints {
        writeln!(
            script,
            "ip link add {device} type veth peer name {0} netns {remote}; ip -n {remote} link set {0} up\n\
             ip link set {device} master {bridge} up; bridge link set dev {device} learning off",
            remote_end(name)
        )
        .unwrap();
        if let Some(tag) = tag.filter(|_| aware) {
            writeln!(
                script,
                "bridge vlan del dev {device} vid 1; bridge vlan add dev {device} vid {tag} pvid untagged"
            )
            .unwrap();
        }
        trunks
            .iter()
            .filter(|_| aware)
            .for_each(|vlan| writeln!(script, "bridge vlan add dev {device} vid {vlan}").unwrap());
        if aware && name == "out" {
            writeln!(script, "bridge vlan add dev {device} vid 2-4094").unwrap();
        }
        writeln!(script, "bridge fdb replace {mac} dev {device} master static").unwrap();
        for address in addresses {
            writeln!(script, "ip neigh replace {address} lladdr {mac} dev {bridge} nud permanent").unwrap();
        }
    }
    script + "ip route add default via 10.0.0.254; ip -6 route add default via fd00::fe\n"
}

#[test]
fn the_kernel_gives_each_recorded_packet_the_expected_result() {
    let (scenes, all) = (recorded::scenes(), recorded::all());
    let bridges = nft_trees::supports_guest_rules(&Netns::new("nft-replay"));
    let between =
        |recorded: &Recorded| ["host", "out"].map(|endpoint| recorded.from() == endpoint || recorded.to() == endpoint);
    let (mut sent, mut wrong) = (0, Vec::new());
    for scene in &scenes {
        let mut node = ReplayNode::new(scene, bridges);
        let mut tree = "";
        for recorded in all.iter().filter(|recorded| scene["name"] == *recorded.scene) {
            if tree != recorded.tree {
                tree = &recorded.tree;
                node.load(tree, bridges);
            }
            if !bridges && between(recorded) != [true, true] {
                continue;
            }
            let of = |all: &[String]| {
                all.iter().filter(|endpoint| bridges || ["host", "out"].contains(&endpoint.as_str())).cloned().collect()
            };
            let wanted = PacketResult { seen: of(&recorded.seen), replies: recorded.replies.iter().cloned().collect() };
            let mut got = node.send(recorded, sent, &wanted);
            got.seen.retain(|endpoint| bridges || ["host", "out"].contains(&endpoint.as_str()));
            sent += 1;
            if got != wanted {
                let Recorded { scene, number, send, why, .. } = recorded;
                let difference = DIFFERENCES.iter().find(|(number, _)| Some(*number) == *why);
                wrong.push(format!("{scene} {number}: {send} wanted {wanted:?}, got {got:?} {difference:?}"));
            }
        }
    }
    println!("{sent} packets");
    assert!(sent as usize == all.len() || (!bridges && sent > 100), "{sent} packets of {}", all.len());
    assert!(wrong.is_empty(), "{} of {sent} packets:\n{}", wrong.len(), wrong.join("\n"));
}
