//! Builds chains rule by rule.
use super::TablePart;
use crate::model::{Family, Interface, MacAddr, Origin};
use crate::nftables::names::Name;
use crate::nftables::ruleset::{
    Action, Addresses, Chain, CtStates, Hook, Interval, Limit, LogPrefix, Match, Rule, Side,
};
use ecow::EcoString;
use ipnet::IpNet;
use std::sync::Arc;

/// An origin without a line in a file.
pub fn generated(what: impl Into<EcoString>) -> Origin {
    Origin::Generated(what.into())
}

/// The name of a chain with a constant name.
pub fn chain(name: &'static str) -> Name {
    Name::fixed(name)
}

/// A jump to a chain with a constant name.
pub fn jump(name: &'static str) -> Action {
    Action::Jump(chain(name))
}

/// A goto to a chain with a constant name.
pub fn goto(name: &'static str) -> Action {
    Action::Goto(chain(name))
}

/// How a rule is logged.
#[derive(Clone)]
pub struct Log {
    /// The VMID, or 0.
    pub vmid: u32,
    /// The level; `None` for no log rule.
    pub level: Option<u8>,
    /// The message in the log prefix.
    pub message: &'static str,
}

/// A chain that is being built.
pub struct Builder<'a> {
    name: Name,
    hook: Option<Hook>,
    rules: Vec<Rule>,
    limit: &'a Option<Limit>,
}

impl<'a> Builder<'a> {
    /// An empty chain; `limit` is the rate limit of its log rules.
    pub fn new(name: Name, limit: &'a Option<Limit>) -> Self {
        Builder { name, hook: None, rules: Vec::new(), limit }
    }

    /// An empty base chain without log rules.
    pub fn base(name: &'static str, hook: &'static str, priority: i32) -> Builder<'static> {
        Builder { hook: Some(Hook { name: hook, priority }), ..Builder::new(chain(name), &None) }
    }

    /// An empty chain with a constant name, without log rules.
    pub fn own(name: &'static str) -> Builder<'static> {
        Builder::new(chain(name), &None)
    }

    /// Adds a rule.
    pub fn rule(&mut self, matches: impl Into<Box<[Match]>>, action: Action, origin: &Origin) {
        self.rules.push(Rule { matches: matches.into(), action, origin: origin.clone() });
    }

    /// Adds a log rule before a rule with the same matches.
    pub fn log(&mut self, matches: &[Match], log: &Log, origin: &Origin) {
        let Some(level) = log.level else { return };
        let prefix = LogPrefix { vmid: log.vmid, level, chain: self.name.clone(), message: log.message };
        self.rule(matches, Action::Log(Box::new((prefix, self.limit.clone()))), origin);
    }

    /// Adds the chain to the finished ones.
    pub fn finish(self, part: &mut TablePart) {
        part.chains.insert(self.name, Arc::new(Chain::new(self.hook, self.rules)));
    }
}

/// Matches an address, network or range as source or destination.
pub fn address(side: Side, interval: impl Into<Interval>) -> Match {
    Match::Address { side, negated: false, addresses: Addresses::Interval(Box::new(interval.into())) }
}

/// Matches a network, given as text.
pub fn net(side: Side, text: &str) -> Match {
    address(side, text.parse::<IpNet>().expect("a constant network"))
}

/// Matches the source or destination against a set.
pub fn set(side: Side, family: Family, name: Name) -> Match {
    Match::Address { side, negated: false, addresses: Addresses::Set(family, name) }
}

/// Matches a TCP port or range.
pub fn tcp(side: Side, first: u16, last: u16) -> Match {
    Match::Port { protocol: 6, side, ports: (first, last) }
}

/// Matches a UDP port or range.
pub fn udp(side: Side, first: u16, last: u16) -> Match {
    Match::Port { protocol: 17, side, ports: (first, last) }
}

/// Matches an ICMP or ICMPv6 type, with the matches of family and protocol that it needs.
pub fn icmp(family: Family, kind: u8) -> [Match; 3] {
    [Match::Family(family), icmp_protocol(family), Match::Icmp { family, kind, code: None }]
}

/// Matches the protocol ICMP or ICMPv6.
pub fn icmp_protocol(family: Family) -> Match {
    Match::Protocol(match family {
        Family::V4 => 1,
        Family::V6 => 58,
    })
}

/// Matches packets of established and related connections.
pub fn known() -> Match {
    Match::Ct(CtStates::Known)
}

/// These matches, preceded by the match of the device if the chain is for several.
pub fn only(one: Option<Match>, rest: impl IntoIterator<Item = Match>) -> Vec<Match> {
    one.into_iter().chain(rest).collect()
}

/// Matches frames, and ARP messages, with another source MAC address.
pub fn foreign_mac(mac: MacAddr) -> [Vec<Match>; 2] {
    [vec![Match::NotFromMac(mac)], vec![Match::Arp, Match::NotArpMac(mac)]]
}

/// The loopback interface.
pub fn loopback() -> Interface {
    Interface::new("lo").expect("a short word")
}
