//! The simulator's result for recorded packets is that of the recorded program, except for listed differences.
use crate::nft_trees;
use crate::recorded::{self, DIFFERENCES, Recorded};
use pve_firewall::model::guest::GuestDevice;
use pve_firewall::model::{CtState, Family};
use pve_firewall::nftables::ruleset::{Rejection, Ruleset};
use pve_firewall::nftables::simulate::{Verdict, simulate};
use pve_firewall::simulate::{Cast, End, GuestPort, Layer, Packet, Sent};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// A node with its guests and its tracked connections.
struct Scene {
    ends: BTreeMap<String, (End, BTreeSet<u16>)>,
    /// The addresses and ports of both endpoints, and whether replies were seen.
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

/// The multicast groups that the node has joined.
const JOINED_GROUPS: [&str; 3] = ["ff02::1", "224.0.0.1", "255.255.255.255"];

impl Scene {
    /// The endpoints to which the bridges forward a packet.
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
                let heard = packet.dest.is_some_and(|dest| JOINED_GROUPS.contains(&dest.to_string().as_str()));
                // only IP packets are counted on the node
                let counted = *end != End::Host || (matches!(packet.layer, Layer::Ip(_)) && !packet.frame.tagged);
                return counted && (*name == to || (flooded && !unknown && heard));
            }
            let same = *source == End::Host || bridge(end) == bridge(source);
            same && vlans.contains(&vlan)
        };
        self.ends.keys().filter(|name| *name != from).filter(reached).cloned().collect()
    }

    /// The endpoints that a packet reaches, and the firewall's replies to it.
    fn send(&mut self, rules: &Ruleset, recorded: &Recorded) -> (Vec<String>, Vec<String>) {
        let (from, to, packet) = (recorded.from(), recorded.to(), &recorded.packet);
        let (source, vlans) = self.ends[from].clone();
        let vlan = if vlans.len() == 1 { *vlans.first().unwrap() } else { recorded.vlan };
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
        // no program listens on the node: its reply to a TCP packet ends the connection
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

#[test]
fn the_simulator_gives_each_recorded_packet_the_expected_result() {
    let scenes = recorded::scenes();
    let mut rules: BTreeMap<String, Ruleset> = BTreeMap::new();
    let (mut current, mut name, mut wrong) = (None, String::new(), Vec::new());
    for recorded in recorded::all() {
        if name != recorded.scene {
            name.clone_from(&recorded.scene);
            current = scenes.iter().find(|one| one["name"] == *name).map(scene);
        }
        let rules = rules
            .entry(recorded.tree.clone())
            .or_insert_with(|| nft_trees::rules(&nft_trees::recorded(&recorded.tree), &nft_trees::facts()));
        let got = current.as_mut().unwrap().send(rules, &recorded);
        let wanted = (recorded.seen.clone(), recorded.replies.clone());
        if got != wanted {
            let Recorded { scene, number, send, why, .. } = &recorded;
            let difference = DIFFERENCES.iter().find(|(number, _)| Some(*number) == *why);
            wrong.push(format!("{scene} {number}: {send} wanted {wanted:?}, got {got:?} {difference:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} packets:\n{}", wrong.len(), wrong.join("\n"));
}
