//! The text of rules and objects, in a syntax that both nft 1.0.6 and 1.1.3 accept.
use super::action::{Action, Limit, LogPrefix, Rejection, is_comment};
use super::interval::Interval;
use super::matches::{Addresses, CtStates, Match, PacketType, Side};
use super::rule::Rule;
use super::set::MapKey;
use super::signature::Signature;
use crate::model::{Family, Interface, MacAddr, Origin, TcpFlags, TimeUnit};
use ecow::{EcoString, eco_format};
use std::fmt::Write;
use std::net::IpAddr;

impl Rule {
    /// The rule as in `add rule TABLE CHAIN …`, with its comment.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(96);
        self.put_signed(None, &mut out);
        out
    }

    /// Writes the rule like [`Rule::text`]; the signature, if any, is appended to the comment.
    pub fn put_signed(&self, signature: Option<Signature>, out: &mut String) {
        self.put(out);
        match (self.comment(), signature) {
            (None, None) => {}
            (Some(comment), None) => put(out, &[" comment \"", &comment, "\""]),
            (None, Some(signature)) => put(out, &[" comment \"", &signature.to_string(), "\""]),
            (Some(comment), Some(signature)) => put(out, &[" comment \"", &comment, " ", &signature.to_string(), "\""]),
        }
    }

    /// Writes the rule without a comment.
    pub fn put(&self, out: &mut String) {
        for one in &self.matches {
            one.put(out);
            out.push(' ');
        }
        self.action.put(out);
    }

    /// The comment: file and line of the configuration. A rule for which the kernel keeps state has none, so that it is not
    /// replaced when its line moves in the file.
    #[must_use]
    pub fn comment(&self) -> Option<EcoString> {
        match &self.origin {
            Origin::Line(file, line) if !self.action.has_state() => {
                let file = file.rsplit('/').next().unwrap_or(file);
                Some(eco_format!("{file}:{line}")).filter(is_comment)
            }
            Origin::Line(..) | Origin::Default(..) | Origin::Generated(_) => None,
        }
    }
}

/// Writes strings one after another.
fn put(out: &mut String, pieces: &[&str]) {
    pieces.iter().for_each(|piece| out.push_str(piece));
}

fn number(out: &mut String, number: u32) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// An interface name in quotes. A trailing asterisk is escaped, because nft would parse it as a wildcard.
pub(super) fn interface(out: &mut String, name: &Interface) {
    match (name.as_str().strip_suffix('+'), name.as_str().strip_suffix('*')) {
        (Some(prefix), _) => put(out, &["\"", prefix, "*\""]),
        (None, Some(prefix)) => put(out, &["\"", prefix, "\\*\""]),
        (None, None) => put(out, &["\"", name.as_str(), "\""]),
    }
}

fn mac(out: &mut String, MacAddr([a, b, c, d, e, f]): MacAddr) {
    // writing to a String cannot fail
    let _ = write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
}

fn address(out: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "." });
                number(out, octet.into());
            }
        }
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

pub(super) fn interval(out: &mut String, interval: &Interval) {
    let (first, last) = interval.ends();
    address(out, first);
    match interval.as_net() {
        _ if first == last => {}
        Some(net) => {
            out.push('/');
            number(out, net.prefix_len().into());
        }
        None => {
            out.push('-');
            address(out, last);
        }
    }
}

pub(super) fn ports(out: &mut String, (first, last): (u16, u16)) {
    number(out, first.into());
    if first != last {
        out.push('-');
        number(out, last.into());
    }
}

/// The nft name of a protocol with ports, for its port fields; `th` if nft has no name for it.
pub(in crate::nftables) fn with_ports(protocol: u8) -> &'static str {
    match protocol {
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        132 => "sctp",
        136 => "udplite",
        _ => "th",
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "!= " } else { "" }
}

fn flags(out: &mut String, flags: TcpFlags) {
    const NAMES: [(&str, u8); 6] = [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32)];
    let set: Vec<_> = NAMES.iter().filter(|(_, bit)| flags.0 & bit != 0).map(|(name, _)| *name).collect();
    match set.len() {
        0 => out.push('0'),
        1 => out.push_str(set[0]),
        _ => put(out, &["(", &set.join(" | "), ")"]),
    }
}

fn tcp_flags(out: &mut String, negated: bool, mask: TcpFlags, set: TcpFlags) {
    out.push_str("tcp flags & ");
    flags(out, mask);
    out.push_str(if negated { " != " } else { " == " });
    flags(out, set);
}

fn icmp(out: &mut String, family: Family, kind: u8, code: Option<u8>) {
    let name = if family == Family::V4 { "icmp" } else { "icmpv6" };
    put(out, &[name, " type "]);
    number(out, kind.into());
    if let Some(code) = code {
        put(out, &[" ", name, " code "]);
        number(out, code.into());
    }
}

fn address_match(out: &mut String, side: Side, negated: bool, addresses: &Addresses) {
    put(out, &[addresses.family().nft(), " ", side.address(), " ", not(negated)]);
    match addresses {
        Addresses::Interval(range) => interval(out, range),
        Addresses::Set(_, name) => put(out, &["@", name.as_str()]),
    }
}

impl Match {
    /// Writes it in nft syntax.
    pub fn put(&self, out: &mut String) {
        match self {
            Match::InInterface(name) => {
                out.push_str("iifname ");
                interface(out, name);
            }
            Match::OutInterface(name) => {
                out.push_str("oifname ");
                interface(out, name);
            }
            Match::NotForwarded => out.push_str("meta pkttype host"),
            Match::HasRoute => out.push_str("meta rtclassid 0-4294967295"),
            Match::Family(family) => put(out, &["meta protocol ", family.nft()]),
            Match::Arp => out.push_str("meta protocol arp"),
            Match::Ethertype { negated, code } => {
                let _ = write!(out, "meta protocol {}0x{code:04x}", not(*negated));
            }
            Match::FrameType { negated, types: (first, last) } => {
                let _ = write!(out, "ether type {}0x{first:04x}", not(*negated));
                if first != last {
                    let _ = write!(out, "-0x{last:04x}");
                }
            }
            Match::NotFromMac(one) => {
                out.push_str("ether saddr != ");
                mac(out, *one);
            }
            Match::NotArpMac(one) => {
                out.push_str("arp saddr ether != ");
                mac(out, *one);
            }
            Match::NotArpSource(first, last) => {
                out.push_str("arp saddr ip != ");
                if let Some(range) = Interval::new((*first).into(), (*last).into()) {
                    interval(out, &range);
                }
            }
            Match::NotArpSourceIn(set) => put(out, &["arp saddr ip != @", set.as_str()]),
            Match::Protocol(protocol) => {
                out.push_str("meta l4proto ");
                number(out, (*protocol).into());
            }
            Match::Port { protocol, side, ports: range } => {
                port_of(out, *protocol, *side);
                ports(out, *range);
            }
            Match::PortIn { protocol, side, set } => {
                port_of(out, *protocol, *side);
                put(out, &["@", set.as_str()]);
            }
            Match::Icmp { family, kind, code } => icmp(out, *family, *kind, *code),
            Match::Address { side, negated, addresses } => address_match(out, *side, *negated, addresses),
            Match::Ct(CtStates::Known) => out.push_str("ct state established,related"),
            Match::Ct(CtStates::Invalid) => out.push_str("ct state invalid"),
            Match::Ct(CtStates::NewOrInvalid) => out.push_str("ct state new,invalid"),
            Match::TcpFlags { negated, mask, set } => tcp_flags(out, *negated, *mask, *set),
            Match::Broadcast(side) => put(out, &["fib ", side.address(), " type broadcast"]),
            Match::Anycast => out.push_str("fib daddr type anycast"),
            Match::PacketType(PacketType::Broadcast) => out.push_str("meta pkttype broadcast"),
            Match::PacketType(PacketType::Multicast) => out.push_str("meta pkttype multicast"),
        }
    }
}

fn port_of(out: &mut String, protocol: u8, side: Side) {
    let name = with_ports(protocol);
    if name == "th" {
        out.push_str("meta l4proto ");
        number(out, protocol.into());
        out.push(' ');
    }
    put(out, &[name, " ", side.port(), " "]);
}

impl LogPrefix {
    /// `:VMID:LOGID:CHAIN: MESSAGE`, with the chain as in [`Name::logged`](crate::nftables::names::Name::logged).
    #[must_use]
    pub fn text(&self) -> String {
        format!(":{}:{}:{}: {}", self.vmid, self.level, self.chain.logged(), self.message)
    }
}

impl Limit {
    fn put(&self, out: &mut String) {
        let unit = match self.rate.per {
            TimeUnit::Second => "second",
            TimeUnit::Minute => "minute",
            TimeUnit::Hour => "hour",
            TimeUnit::Day => "day",
        };
        let _ = write!(out, "limit rate {}/{unit} burst ", self.rate.packets);
        number(out, self.burst);
        out.push_str(" packets ");
    }
}

impl MapKey {
    /// The key expression, as in rules and declarations.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            MapKey::InInterface => "iifname",
            MapKey::OutInterface => "oifname",
            MapKey::Bridges => "meta ibrname . meta obrname",
        }
    }
}

impl Action {
    /// Writes it.
    pub fn put(&self, out: &mut String) {
        match self {
            Action::Accept => out.push_str("accept"),
            Action::Drop => out.push_str("drop"),
            Action::Return => out.push_str("return"),
            Action::Jump(chain) => put(out, &["jump ", chain.as_str()]),
            Action::Goto(chain) => put(out, &["goto ", chain.as_str()]),
            Action::Reject(Rejection::TcpReset) => out.push_str("reject with tcp reset"),
            Action::Reject(Rejection::PortUnreachable(Family::V4)) => out.push_str("reject with icmp port-unreachable"),
            Action::Reject(Rejection::PortUnreachable(Family::V6)) => {
                out.push_str("reject with icmpv6 port-unreachable");
            }
            Action::Reject(Rejection::Prohibited(Family::V4)) => out.push_str("reject with icmp host-prohibited"),
            Action::Reject(Rejection::Prohibited(Family::V6)) => out.push_str("reject with icmpv6 admin-prohibited"),
            Action::Log(log) => {
                let (prefix, limit) = &**log;
                if let Some(limit) = limit {
                    limit.put(out);
                }
                put(out, &["log prefix \"", &prefix.text(), "\" group 0"]);
            }
            Action::CtMark(mark) => {
                out.push_str("ct mark set ");
                number(out, *mark);
            }
            Action::CtHelper(name) => put(out, &["ct helper set \"", name.as_str(), "\""]),
            Action::Queue(first, last) => {
                out.push_str("queue num ");
                ports(out, (*first, *last));
                out.push_str(" bypass");
            }
            Action::DropAbove { family, set, limit: (rate, burst) } => {
                let source = match family {
                    Family::V4 => "ip saddr",
                    Family::V6 => "ip6 saddr & ffff:ffff:ffff:ffff::",
                };
                let _ = write!(
                    out,
                    "update @{set} {{ {source} limit rate over {rate}/second burst {burst} packets }} drop"
                );
            }
            Action::VerdictMap(key, map) => put(out, &[key.text(), " vmap @", map.as_str()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Rate;
    use crate::nftables::names::Name;

    fn text(matches: &[Match], action: Action) -> String {
        let mut out = String::new();
        Rule { matches: matches.into(), action, origin: Origin::Generated("test".into()) }.put(&mut out);
        out
    }

    #[test]
    fn matches_are_written_in_nft_syntax() {
        let interval = |text: &str| Addresses::Interval(Box::new(text.parse::<ipnet::IpNet>().unwrap().into()));
        let named = |text: &str| Interface::new(text).unwrap();
        for (one, expected) in [
            (Match::InInterface(named("eth0*")), r#"iifname "eth0\*""#),
            (Match::OutInterface(named("vmbr0")), r#"oifname "vmbr0""#),
            (
                Match::Address { side: Side::Source, negated: true, addresses: interval("10.0.0.0/8") },
                "ip saddr != 10.0.0.0/8",
            ),
            (
                Match::Address { side: Side::Destination, negated: false, addresses: interval("fd00::1/128") },
                "ip6 daddr fd00::1",
            ),
            (Match::Port { protocol: 17, side: Side::Source, ports: (67, 67) }, "udp sport 67"),
            (Match::Port { protocol: 6, side: Side::Destination, ports: (80, 85) }, "tcp dport 80-85"),
            (Match::Icmp { family: Family::V6, kind: 1, code: Some(4) }, "icmpv6 type 1 icmpv6 code 4"),
            (Match::Ethertype { negated: true, code: 0x800 }, "meta protocol != 0x0800"),
            (
                Match::NotArpSource("10.0.0.1".parse().unwrap(), "10.0.0.3".parse().unwrap()),
                "arp saddr ip != 10.0.0.1-10.0.0.3",
            ),
            (
                Match::TcpFlags { negated: false, mask: TcpFlags(3), set: TcpFlags::NONE },
                "tcp flags & (fin | syn) == 0",
            ),
        ] {
            let mut out = String::new();
            one.put(&mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn actions_are_written_in_nft_syntax() {
        let prefix = LogPrefix { vmid: 100, level: 6, chain: Name::new("guest-100-in").unwrap(), message: "DROP: " };
        let limit = Limit { rate: Rate { packets: 20, per: TimeUnit::Minute }, burst: 5 };
        assert_eq!(
            text(&[], Action::Log(Box::new((prefix, Some(limit))))),
            r#"limit rate 20/minute burst 5 packets log prefix ":100:6:guest-100-in: DROP: " group 0"#
        );
        assert_eq!(text(&[Match::Arp], Action::Queue(0, 3)), "meta protocol arp queue num 0-3 bypass");
        let set = Name::new("v6-synflood-limit").unwrap();
        assert_eq!(
            text(&[], Action::DropAbove { family: Family::V6, set, limit: (200, 1000) }),
            "update @v6-synflood-limit { ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over 200/second burst 1000 packets } drop"
        );
    }

    #[test]
    fn comments_contain_the_location_and_no_quotes() {
        let rule = |file: &str| Rule { matches: [].into(), action: Action::Drop, origin: Origin::Line(file.into(), 7) };
        assert_eq!(rule("/etc/pve/firewall/100.fw").text(), r#"drop comment "100.fw:7""#);
        assert_eq!(rule("/x/a\"b.fw").text(), "drop");
        assert_eq!(rule(&format!("/{}", "x".repeat(200))).text(), "drop");
    }
}
