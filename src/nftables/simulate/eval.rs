//! Evaluates single rules: whether they match, and their actions.
use super::hook_path::At;
use crate::model::{CtState, Family, Interface};
use crate::nftables::names::Name;
use crate::nftables::ruleset::{
    Action, Addresses, Chain, CtStates, MapKey, Match, PacketType, Rejection, Rule, Ruleset, SetKind, Side, Table,
    VerdictTarget,
};
use crate::simulate::{Cast, Layer, Packet};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The type of a frame with a tag (IEEE 802.1Q).
const VLAN: u16 = 0x8100;

/// The verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is accepted.
    Accept,
    /// It is dropped.
    Drop,
    /// It is rejected with a reply.
    Reject(Rejection),
}

/// The effect of a matching rule.
pub enum Effect<'a> {
    /// The next rule is evaluated.
    Continue,
    Return,
    Jump(&'a Name),
    Goto(&'a Name),
    Final(Verdict),
}

/// A packet at a hook.
pub struct EvalContext<'a, 'b> {
    pub ruleset: &'a Ruleset,
    pub packet: &'b Packet,
    pub broadcasts: &'b BTreeSet<Ipv4Addr>,
    pub at: &'b At,
    /// The conntrack state of the packet at this hook.
    pub state: Option<CtState>,
}

impl<'a> EvalContext<'a, '_> {
    pub fn table(&self) -> Option<&'a Table> {
        self.ruleset.tables.get(&self.at.table)
    }

    /// The base chains of the hook, in the order of their priorities.
    pub fn base_chains(&self) -> Vec<&'a Name> {
        let chains = self.table().into_iter().flat_map(|table| &table.chains);
        let hook = |chain: &Chain| chain.hook().filter(|hook| hook.name == self.at.hook);
        let mut found: Vec<_> = chains.filter_map(|(name, chain)| Some((hook(chain)?.priority, name))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name).collect()
    }

    /// The effect of an action on the packet.
    pub fn effect(&self, action: &'a Action) -> Effect<'a> {
        match action {
            // a queue that no program reads is bypassed; the verdict of a program is not simulated
            Action::Accept | Action::Queue(..) => Effect::Final(Verdict::Accept),
            Action::Drop => Effect::Final(Verdict::Drop),
            Action::Return => Effect::Return,
            Action::Jump(chain) => Effect::Jump(chain),
            Action::Goto(chain) => Effect::Goto(chain),
            Action::Reject(rejection) => Effect::Final(Verdict::Reject(*rejection)),
            // a single packet does not exceed a rate
            Action::Log(_) | Action::CtMark(_) | Action::CtHelper(_) | Action::DropAbove { .. } => Effect::Continue,
            Action::VerdictMap(key, map) => match self.look_up(*key, map) {
                Some(VerdictTarget::Jump(chain)) => Effect::Jump(chain),
                Some(VerdictTarget::Goto(chain)) => Effect::Goto(chain),
                None => Effect::Continue,
            },
        }
    }

    pub(super) fn look_up(&self, key: MapKey, map: &Name) -> Option<&'a VerdictTarget> {
        let name = match key {
            MapKey::InInterface => &self.at.input,
            MapKey::OutInterface => &self.at.output,
            MapKey::Bridges => &self.at.bridge,
        };
        let name = name.as_deref()?;
        let map = self.table()?.maps.get(map)?;
        map.elements.get(&Interface::new(name)?)
    }

    /// Whether a rule can match any packet at the hook: compares interfaces only.
    pub(super) fn can_match(&self, rule: &Rule) -> bool {
        let interface = |one: &&Match| matches!(one, Match::InInterface(_) | Match::OutInterface(_));
        rule.matches.iter().filter(interface).all(|one| self.matches(one))
    }

    /// Whether a rule can match the packet: compares everything except the state of its connection and the node's routes.
    pub(super) fn can_match_packet(&self, rule: &Rule) -> bool {
        let depends = |one: &Match| matches!(one, Match::Ct(_) | Match::Broadcast(_) | Match::Anycast);
        rule.matches.iter().all(|one| depends(one) || self.matches(one))
    }

    fn family(&self) -> Option<Family> {
        match self.packet.layer {
            Layer::Ip(family) => Some(family),
            Layer::Arp | Layer::Other(_) => None,
        }
    }

    fn ethertype(&self) -> u16 {
        match self.packet.layer {
            Layer::Ip(Family::V4) => 0x0800,
            Layer::Ip(Family::V6) => 0x86dd,
            Layer::Arp => 0x0806,
            Layer::Other(code) => code,
        }
    }

    fn frame_type(&self) -> u16 {
        if self.packet.frame.tagged { VLAN } else { self.ethertype() }
    }

    fn address(&self, side: Side) -> Option<IpAddr> {
        self.family()?;
        match side {
            Side::Source => self.packet.source,
            Side::Destination => self.packet.dest,
        }
    }

    fn port(&self, protocol: u8, side: Side) -> Option<u16> {
        self.family().filter(|_| self.packet.protocol == protocol)?;
        match side {
            Side::Source => self.packet.sport,
            Side::Destination => self.packet.dport,
        }
    }

    fn arp_source(&self) -> Option<Ipv4Addr> {
        match (self.packet.layer, self.packet.source) {
            (Layer::Arp, Some(IpAddr::V4(source))) => Some(source),
            _ => None,
        }
    }

    pub fn matches(&self, one: &Match) -> bool {
        let packet = self.packet;
        match one {
            Match::InInterface(name) => self.at.input.as_deref().is_some_and(|input| name.covers(input)),
            Match::OutInterface(name) => self.at.output.as_deref().is_some_and(|output| name.covers(output)),
            Match::NotForwarded => self.at.by_node,
            Match::HasRoute => self.at.by_node && self.at.hook != "prerouting",
            Match::Family(family) => self.family() == Some(*family),
            Match::Arp => packet.layer == Layer::Arp,
            Match::Ethertype { negated, code } => (self.ethertype() == *code) != *negated,
            Match::FrameType { negated, types: (first, last) } => {
                (*first..=*last).contains(&self.frame_type()) != *negated
            }
            Match::NotFromMac(mac) => packet.mac.is_some_and(|one| one != *mac),
            Match::NotArpMac(mac) => {
                packet.layer == Layer::Arp && packet.frame.arp_mac.or(packet.mac).is_some_and(|one| one != *mac)
            }
            Match::NotArpSource(first, last) => {
                self.arp_source().is_some_and(|source| !(*first..=*last).contains(&source))
            }
            Match::NotArpSourceIn(set) => {
                self.arp_source().is_some_and(|source| !self.set_contains(set, source.into()))
            }
            Match::Protocol(protocol) => self.family().is_some() && packet.protocol == *protocol,
            Match::Port { protocol, side, ports: (first, last) } => {
                self.port(*protocol, *side).is_some_and(|port| (*first..=*last).contains(&port))
            }
            Match::PortIn { protocol, side, set } => {
                self.port(*protocol, *side).is_some_and(|port| self.set_contains_port(set, port))
            }
            Match::Icmp { family, kind, code } => {
                let message = packet.icmp.filter(|_| self.family() == Some(*family));
                message.is_some_and(|(own, own_code)| own == *kind && code.is_none_or(|code| code == own_code))
            }
            Match::Address { side, negated, addresses } => self.matches_address(*side, *negated, addresses),
            Match::Ct(state) => self.matches_state(*state),
            Match::TcpFlags { negated, mask, set } => {
                let tcp = self.family().is_some() && packet.protocol == Packet::TCP;
                tcp && (packet.flags.0 & mask.0 == set.0) != *negated
            }
            Match::Broadcast(side) => matches!(self.address(*side), Some(IpAddr::V4(address))
                if address.is_broadcast() || self.broadcasts.contains(&address)),
            Match::Anycast => false,
            Match::PacketType(PacketType::Broadcast) => packet.frame.cast == Cast::Broadcast,
            Match::PacketType(PacketType::Multicast) => packet.frame.cast == Cast::Multicast,
        }
    }

    fn matches_address(&self, side: Side, negated: bool, addresses: &Addresses) -> bool {
        let address = self.address(side).filter(|address| Family::of(*address) == addresses.family());
        let held = |address| match addresses {
            Addresses::Interval(interval) => interval.contains(address),
            Addresses::Set(_, set) => self.set_contains(set, address),
        };
        address.is_some_and(|address| held(address) != negated)
    }

    fn matches_state(&self, wanted: CtStates) -> bool {
        match wanted {
            CtStates::Known => matches!(self.state, Some(CtState::Established | CtState::Related)),
            CtStates::Invalid => self.state == Some(CtState::Invalid),
            CtStates::NewOrInvalid => matches!(self.state, Some(CtState::New | CtState::Invalid)),
        }
    }

    fn set_contains(&self, set: &Name, address: IpAddr) -> bool {
        let set = self.table().and_then(|table| table.sets.get(set));
        set.is_some_and(|set| matches!(&set.kind, SetKind::Addresses(_, held) if held.contains(address)))
    }

    fn set_contains_port(&self, set: &Name, port: u16) -> bool {
        let set = self.table().and_then(|table| table.sets.get(set));
        let within = |ranges: &[(u16, u16)]| ranges.iter().any(|(first, last)| (*first..=*last).contains(&port));
        set.is_some_and(|set| matches!(&set.kind, SetKind::Ports(ranges) if within(ranges)))
    }
}
