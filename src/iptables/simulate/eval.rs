//! Evaluates single rules: whether they match, and their effect.
use super::Hop;
use super::{Layer, Packet};
use crate::iptables::ruleset::{
    AddrType, BridgeMatch, BridgeRule, BridgeTarget, ChainName, CtState, Match, Physdev, RejectWith, Rule, Ruleset,
    Side, Target,
};
use crate::model::{Family, Origin};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is accepted.
    Accept,
    /// It is dropped.
    Drop,
    /// It is rejected with a reply to its sender.
    Reject(RejectWith),
}

impl fmt::Display for Verdict {
    /// `ACCEPT`, `DROP` or `REJECT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
            Verdict::Reject(_) => "REJECT",
        })
    }
}

/// The effect of a matching rule.
pub enum Effect<'a> {
    /// Continues with the next rule.
    Continue,
    Return,
    Jump(&'a ChainName),
    Goto(&'a ChainName),
    Final(Verdict),
}

/// The state in which rules are evaluated: a packet at a hook, with its current mark.
pub struct EvalContext<'a> {
    pub ruleset: &'a Ruleset,
    pub packet: &'a Packet,
    pub broadcasts: &'a BTreeSet<Ipv4Addr>,
    pub hop: &'a Hop,
    /// The conntrack state of the packet at this hook.
    pub state: Option<CtState>,
    pub mark: u32,
}

/// A rule of either kind.
#[derive(Clone, Copy, Debug)]
pub enum AnyRule<'a> {
    /// Of iptables or ip6tables.
    Ip(&'a Rule),
    /// Of ebtables.
    Bridge(&'a BridgeRule),
}

impl<'a> AnyRule<'a> {
    /// The origin of the rule.
    #[must_use]
    pub fn origin(self) -> &'a Origin {
        match self {
            AnyRule::Ip(rule) => &rule.origin,
            AnyRule::Bridge(rule) => &rule.origin,
        }
    }

    /// The target in the syntax of its tool: `-j DROP`.
    #[must_use]
    pub fn target(self) -> String {
        match self {
            AnyRule::Ip(rule) => rule.target.to_string(),
            AnyRule::Bridge(rule) => format!("-j {}", rule.target),
        }
    }

    pub(super) fn matches_mark(self) -> bool {
        matches!(self, AnyRule::Ip(rule) if rule.matches.iter().any(|one| matches!(one, Match::Mark { .. })))
    }

    pub(super) fn matches(self, at: &EvalContext<'_>) -> bool {
        match self {
            AnyRule::Ip(rule) => rule.matches.iter().all(|one| at.matches(one)),
            AnyRule::Bridge(rule) => rule.matches.iter().all(|one| at.matches_frame(one)),
        }
    }

    /// Whether it can match any packet at a hook: compares interfaces only.
    pub(super) fn can_match(self, hop: &Hop) -> bool {
        match self {
            AnyRule::Ip(rule) => rule.matches.iter().all(|one| matches_hop(one, hop)),
            AnyRule::Bridge(rule) => rule.matches.iter().all(|one| frame_matches_hop(one, hop)),
        }
    }

    /// Whether it can match a packet at a hook: compares interfaces, addresses, protocol and ports only.
    pub(super) fn can_match_packet(self, at: &EvalContext<'_>) -> bool {
        match self {
            AnyRule::Ip(rule) => rule.matches.iter().all(|one| depends_on_path(one) || at.matches(one)),
            AnyRule::Bridge(rule) => rule.matches.iter().all(|one| frame_matches_hop(one, at.hop)),
        }
    }

    /// The target chain of a jump or goto.
    pub(super) fn target_chain(self) -> Option<&'a ChainName> {
        match self {
            AnyRule::Ip(Rule { target: Target::Jump(chain) | Target::Goto(chain), .. })
            | AnyRule::Bridge(BridgeRule { target: BridgeTarget::Jump(chain), .. }) => Some(chain),
            AnyRule::Ip(_) | AnyRule::Bridge(_) => None,
        }
    }

    /// Whether both have the same effect; origins are not compared.
    pub(super) fn is_equivalent(self, other: Self) -> bool {
        match (self, other) {
            (AnyRule::Ip(one), AnyRule::Ip(other)) => one.matches == other.matches && one.target == other.target,
            (AnyRule::Bridge(one), AnyRule::Bridge(other)) => {
                one.matches == other.matches && one.target == other.target
            }
            (AnyRule::Ip(_), AnyRule::Bridge(_)) | (AnyRule::Bridge(_), AnyRule::Ip(_)) => false,
        }
    }

    /// Its effect on a matching packet.
    pub(super) fn effect(self, at: &mut EvalContext<'_>) -> Effect<'a> {
        match self {
            AnyRule::Ip(rule) => target_effect(&rule.target, at),
            AnyRule::Bridge(rule) => match &rule.target {
                BridgeTarget::Accept => Effect::Final(Verdict::Accept),
                BridgeTarget::Drop => Effect::Final(Verdict::Drop),
                BridgeTarget::Return => Effect::Return,
                BridgeTarget::Jump(chain) => Effect::Jump(chain),
            },
        }
    }
}

fn target_effect<'a>(target: &'a Target, at: &mut EvalContext<'_>) -> Effect<'a> {
    match target {
        // a queue that no program reads is bypassed; the verdict of a program is not simulated
        Target::Accept | Target::Nfqueue(_) => Effect::Final(Verdict::Accept),
        Target::Drop => Effect::Final(Verdict::Drop),
        Target::Reject(with) => Effect::Final(Verdict::Reject(*with)),
        Target::Return => Effect::Return,
        Target::Jump(chain) => Effect::Jump(chain),
        Target::Goto(chain) => Effect::Goto(chain),
        Target::SetMark { value, mask } => {
            at.mark = (at.mark & !mask) ^ value;
            Effect::Continue
        }
        Target::SetConnmark(_) | Target::Nflog(_) | Target::CtHelper(_) => Effect::Continue,
    }
}

impl EvalContext<'_> {
    fn address(&self, side: Side) -> Option<IpAddr> {
        match side {
            Side::Source => self.packet.source,
            Side::Destination => self.packet.dest,
        }
    }

    fn port(&self, side: Side) -> Option<u16> {
        match side {
            Side::Source => self.packet.sport,
            Side::Destination => self.packet.dport,
        }
    }

    pub(super) fn matches(&self, one: &Match) -> bool {
        let packet = self.packet;
        match one {
            Match::InInterface(_) | Match::OutInterface(_) | Match::Physdev(_) => matches_hop(one, self.hop),
            Match::Address(side, nets) => {
                self.address(*side).is_some_and(|address| nets.value.iter().any(|net| net.contains(&address)))
            }
            Match::Range(side, range) => {
                let (first, last) = range.value;
                self.address(*side).is_some_and(|address| (first..=last).contains(&address))
            }
            Match::Set { name, side, negated } => {
                let held = self.address(*side).zip(self.ruleset.sets.get(name));
                held.is_some_and(|(address, set)| set.contains(address) != *negated)
            }
            Match::Protocol(protocol) => packet.protocol == protocol.value,
            Match::Module(_) | Match::Limit(_) => true,
            Match::Icmp(_, message) => {
                let message = message.value;
                let same = |wanted: Option<u8>, got: u8| wanted.is_none_or(|wanted| wanted == got);
                match packet.icmp {
                    Some((kind, code)) => same(message.kind, kind) && same(message.code, code),
                    None => message.kind.is_none(),
                }
            }
            Match::Port(side, ports) => self.port(*side).is_some_and(|port| in_range(port, ports.value)),
            Match::Multiport(side, ports) => {
                self.port(*side).is_some_and(|port| ports.value.iter().any(|range| in_range(port, *range)))
            }
            Match::AddrType(side, AddrType::Local) => {
                let group = |one| self.has_type(one, AddrType::Multicast) || self.has_type(one, AddrType::Broadcast);
                self.address(*side).is_none_or(|one| !group(one)) && self.is_local(*side)
            }
            Match::AddrType(side, kind) => self.address(*side).is_some_and(|one| self.has_type(one, *kind)),
            Match::Conntrack(states) => self.state.is_some_and(|state| states.contains(&state)),
            Match::NotFromMac(mac) => packet.mac.is_some_and(|one| one != mac.value),
            Match::Mark { value, mask } => self.mark & mask == *value,
            Match::TcpFlags { negated, mask, set } => {
                packet.protocol == Packet::TCP && (packet.flags.0 & mask.0 == set.0) != *negated
            }
            // a single packet does not exceed a rate
            Match::HashLimit(_) => false,
        }
    }

    /// Whether an address is the node's own: the destination of packets in INPUT, and the source of packets in OUTPUT.
    fn is_local(&self, side: Side) -> bool {
        let loopback = Some("lo");
        match (self.hop, side) {
            (Hop::Input { .. }, Side::Destination) | (Hop::Output { .. }, Side::Source) => true,
            (Hop::Input { .. }, Side::Source) => self.hop.entered_by() == loopback,
            (Hop::Output { .. }, Side::Destination) => self.hop.left_by() == loopback,
            (Hop::Bridge { .. } | Hop::Route { .. }, _) => false,
        }
    }

    /// The type of an address in the node's routing tables, like inet_addr_type() and ipv6_addr_type() in Linux.
    fn has_type(&self, address: IpAddr, kind: AddrType) -> bool {
        match (kind, address) {
            (AddrType::Multicast, _) => address.is_multicast(),
            (AddrType::Broadcast, IpAddr::V4(address)) => {
                address.is_broadcast() || address.is_unspecified() || self.broadcasts.contains(&address)
            }
            (AddrType::Broadcast, IpAddr::V6(_)) | (AddrType::Anycast | AddrType::Local, _) => false,
        }
    }

    fn matches_frame(&self, one: &BridgeMatch) -> bool {
        match one {
            BridgeMatch::Protocol(name) => {
                let own = match self.packet.layer {
                    _ if self.packet.frame.tagged => "802_1Q",
                    Layer::Arp => "ARP",
                    Layer::Ip(Family::V4) => "IPv4",
                    Layer::Ip(Family::V6) => "IPv6",
                    Layer::Other(0..0x600) => "Length",
                    Layer::Other(0x8100) => "802_1Q",
                    Layer::Other(0x8137) => "IPX",
                    Layer::Other(0x88a8) => "S-TAG",
                    Layer::Other(0x8863) => "PPP_DISC",
                    Layer::Other(0x8864) => "PPP_SES",
                    Layer::Other(0x88cc) => "LLDP",
                    Layer::Other(_) => return false,
                };
                name.as_str().eq_ignore_ascii_case(own)
            }
            BridgeMatch::InInterface(_) | BridgeMatch::OutInterface(_) => frame_matches_hop(one, self.hop),
            BridgeMatch::NotFrom(mac) => self.packet.mac.is_some_and(|one| one != *mac),
            BridgeMatch::ArpSource(net) => match self.packet.source {
                Some(IpAddr::V4(source)) => self.packet.layer == Layer::Arp && net.contains(&source),
                _ => false,
            },
        }
    }
}

/// Whether a match depends on rules that the packet has matched before, or on the node's routing tables.
fn depends_on_path(one: &Match) -> bool {
    match one {
        Match::Conntrack(_) | Match::Mark { .. } | Match::AddrType(..) => true,
        Match::InInterface(_)
        | Match::OutInterface(_)
        | Match::Physdev(_)
        | Match::Address(..)
        | Match::Range(..)
        | Match::Set { .. }
        | Match::Protocol(_)
        | Match::Module(_)
        | Match::Limit(_)
        | Match::Icmp(..)
        | Match::Port(..)
        | Match::Multiport(..)
        | Match::NotFromMac(_)
        | Match::TcpFlags { .. }
        | Match::HashLimit(_) => false,
    }
}

/// Whether a match on interfaces covers those of a hop; true for any other match.
fn matches_hop(one: &Match, hop: &Hop) -> bool {
    match one {
        Match::InInterface(interface) => hop.entered_by().is_some_and(|name| interface.covers(name)),
        Match::OutInterface(interface) => hop.left_by().is_some_and(|name| interface.covers(name)),
        Match::Physdev(physdev) => match (hop, physdev) {
            (Hop::Bridge { from, .. }, Physdev::In(device) | Physdev::Any(device)) => device.covers(from),
            (Hop::Bridge { to, .. }, Physdev::Out(device) | Physdev::OutFirst(device)) => device.covers(to),
            (Hop::Route { .. } | Hop::Input { .. } | Hop::Output { .. }, _) => false,
        },
        _ => true,
    }
}

/// Whether a match of ebtables on interfaces covers those of a hop; true for any other match.
fn frame_matches_hop(one: &BridgeMatch, hop: &Hop) -> bool {
    match (one, hop) {
        (BridgeMatch::InInterface(interface), Hop::Bridge { from, .. }) => interface.covers(from),
        (BridgeMatch::OutInterface(interface), Hop::Bridge { to, .. }) => interface.covers(to),
        (BridgeMatch::InInterface(_) | BridgeMatch::OutInterface(_), _) => false,
        _ => true,
    }
}

fn in_range(port: u16, (first, last): (u16, u16)) -> bool {
    (first..=last).contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::ruleset::{HashLimit, Interface, Spelled, TcpFlags};

    const HOP: fn() -> Hop = || Hop::Bridge { bridge: "vmbr0".into(), from: "a0".into(), to: "b0".into() };

    fn matches(packet: &Packet, mark: u32, one: &Match) -> bool {
        let (ruleset, broadcasts, hop) = (Ruleset::default(), BTreeSet::new(), HOP());
        EvalContext { ruleset: &ruleset, packet, broadcasts: &broadcasts, hop: &hop, state: packet.state, mark }
            .matches(one)
    }

    #[test]
    fn a_match_on_an_unknown_field_does_not_match() {
        let unknown = Packet::new(Family::V4, Packet::UDP);
        let spelled = |text: &str| Spelled::new(text, vec![text.parse().unwrap()]).unwrap().into();
        let source = |text| Match::Address(Side::Source, spelled(text));
        let port = |range| Match::Port(Side::Destination, Spelled::new("p", range).unwrap());
        for one in [source("0.0.0.0/0"), port((0, 65535)), Match::AddrType(Side::Source, AddrType::Broadcast)] {
            assert!(!matches(&unknown, 0, &one), "{one}");
        }
        let known = Packet {
            source: Some("10.0.0.1".parse().unwrap()),
            dport: Some(7),
            ..Packet::new(Family::V4, Packet::UDP)
        };
        for one in [source("0.0.0.0/0"), source("10.0.0.1/32"), port((7, 7)), port((0, 65535))] {
            assert!(matches(&known, 0, &one), "{one}");
        }
        assert!(!matches(&known, 0, &source("10.0.0.2/32")) && !matches(&known, 0, &port((8, 9))));
    }

    #[test]
    fn bridge_ports_are_not_ip_interfaces() {
        let packet = Packet::new(Family::V6, Packet::TCP);
        let device = |name| Interface::new(name).unwrap();
        for (one, wanted) in [
            (Match::InInterface(device("vmbr0")), true),
            (Match::OutInterface(device("vmbr+")), true),
            (Match::InInterface(device("a0")), false),
            (Match::Physdev(Physdev::In(device("a0"))), true),
            (Match::Physdev(Physdev::Out(device("b+"))), true),
            (Match::Physdev(Physdev::In(device("b0"))), false),
        ] {
            assert_eq!(matches(&packet, 0, &one), wanted, "{one}");
        }
    }

    #[test]
    fn marks_flags_and_limits() {
        let packet = Packet::new(Family::V4, Packet::TCP);
        let marked = Match::Mark { value: 0x8000_0000, mask: 0x8000_0000 };
        assert!(matches(&packet, 0x8000_0007, &marked) && !matches(&packet, 7, &marked));
        let flags = |negated, set| Match::TcpFlags { negated, mask: TcpFlags::SYN.and(TcpFlags::ACK), set };
        assert!(matches(&packet, 0, &flags(false, TcpFlags::SYN)));
        assert!(!matches(&packet, 0, &flags(true, TcpFlags::SYN)));
        assert!(!matches(&Packet::new(Family::V4, Packet::UDP), 0, &flags(true, TcpFlags::ACK)));
        let flood = Match::HashLimit(HashLimit { above: 1, burst: 1, source_mask: 32, expire: 1000 }.into());
        assert!(!matches(&packet, 0, &flood));
    }
}
