//! Matches that several chains use.
use super::chain_builder::ACCEPT_MARK;
use crate::builtin::icmp;
use crate::config::Term;
use crate::iptables::ruleset::{CtState, Match, Physdev, SetName, Side, Target, TcpFlags};
use crate::model::{Address, Family, IcmpType, Interface, Literal, PerFamily, Ports, Spelled, Token};
use ipnet::IpNet;
use std::sync::LazyLock;

/// `-p NAME` with a built-in protocol.
pub fn proto(name: &str, number: u8) -> Match {
    Match::Protocol(Spelled::new(name, number).expect("a protocol's name is a word"))
}

/// `-p tcp`
pub fn tcp() -> Match {
    proto("tcp", 6)
}

/// `-p udp`
pub fn udp() -> Match {
    proto("udp", 17)
}

/// `--dport` or `--sport` with one port or range.
pub fn port(side: Side, first: u16, last: u16) -> Match {
    let mut number = itoa::Buffer::new();
    let spelled = match first == last {
        true => Spelled::new(number.format(first), (first, last)),
        false => Spelled::new(&format!("{first}:{last}"), (first, last)),
    };
    Match::Port(side, spelled.expect("ports are a word"))
}

/// `--match multiport --dports`
pub fn dports(ports: &[u16]) -> Match {
    let text = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let ports = ports.iter().map(|port| (*port, *port)).collect();
    Match::Multiport(Side::Destination, Spelled::new(&text, ports).expect("ports are a word").into())
}

/// `-s` or `-d` with a network in this spelling.
pub fn net(side: Side, text: &str) -> Match {
    let net: IpNet = text.parse().expect("a constant network");
    Match::Address(side, Spelled::new(text, vec![net]).expect("a network is a word").into())
}

/// `-p icmp` or `-p icmpv6`
pub fn icmp_proto(family: Family) -> Match {
    match family {
        Family::V4 => proto("icmp", 1),
        Family::V6 => proto("icmpv6", 58),
    }
}

/// `--icmp-type` or `--icmpv6-type` with a built-in name.
pub fn icmp_type(family: Family, name: &str) -> Match {
    // long names used in the chains of every device, so they are shared
    static MAX_NAMED: LazyLock<PerFamily<Vec<Spelled<IcmpType>>>> = LazyLock::new(|| {
        let named = |(name, kind, code): &icmp::IcmpName| Spelled::new(name, IcmpType { kind: *kind, code: *code });
        let all = |table: &[icmp::IcmpName]| table.iter().filter_map(named).collect();
        PerFamily { v4: all(icmp::V4), v6: all(icmp::V6) }
    });
    let named = MAX_NAMED[family].iter().find(|named| named.text() == name);
    Match::Icmp(family, named.expect("a name of the table").clone())
}

/// `--icmpv6-type` with a number.
pub fn icmp_number(kind: u8) -> Match {
    let mut number = itoa::Buffer::new();
    let spelled = Spelled::new(number.format(kind), IcmpType { kind: Some(kind), code: None });
    Match::Icmp(Family::V6, spelled.expect("a number is a word"))
}

/// `-m set --match-set NAME src`
pub fn source_in(name: &SetName) -> Match {
    Match::Set { name: name.clone(), side: Side::Source, negated: false }
}

/// `-m conntrack --ctstate INVALID`
pub fn invalid() -> Match {
    Match::Conntrack(&[CtState::Invalid])
}

/// `-m conntrack --ctstate RELATED,ESTABLISHED`
pub fn established() -> Match {
    Match::Conntrack(&[CtState::Related, CtState::Established])
}

/// `-m mark`: the packet is marked as accepted.
pub static MARKED: [Match; 1] = [Match::Mark { value: ACCEPT_MARK, mask: ACCEPT_MARK }];

/// `-j MARK`: sets or clears the mark for accepted packets.
pub fn set_mark(on: bool) -> Target {
    Target::SetMark { value: if on { ACCEPT_MARK } else { 0 }, mask: ACCEPT_MARK }
}

/// `-m tcp [!] --tcp-flags FIN,SYN,RST,ACK SYN`: a packet that opens a connection, or one that does not.
pub fn opening(negated: bool) -> [Match; 3] {
    let mask = TcpFlags::FIN.and(TcpFlags::SYN).and(TcpFlags::RST).and(TcpFlags::ACK);
    [tcp(), Match::Module("tcp"), Match::TcpFlags { negated, mask, set: TcpFlags::SYN }]
}

/// `-m physdev`: bridged, by input port.
pub fn entering(device: &Interface) -> Match {
    Match::Physdev(Physdev::In(device.clone()))
}

/// `-m physdev`: bridged, by output port.
pub fn leaving(device: &Interface) -> Match {
    Match::Physdev(Physdev::Out(device.clone()))
}

/// `-m physdev --physdev-in`: entering by a port, bridged or not.
pub fn from_port(device: &Interface) -> Match {
    Match::Physdev(Physdev::Any(device.clone()))
}

/// An ethertype for ebtables.
pub fn ethertype(name: &str) -> Token {
    Token::new(name).expect("an ethertype's name is a word")
}

/// The match for a rule's source or destination; `None` if it refers to a dropped set.
pub fn address(side: Side, address: &Address, set: impl Fn(&crate::model::SetRef) -> Option<SetName>) -> Option<Match> {
    Some(match address {
        Address::Literal(Literal::Nets(nets)) => Match::Address(side, nets.clone()),
        Address::Literal(Literal::Range(range)) => Match::Range(side, range.clone()),
        Address::Set(reference) => Match::Set { name: set(reference)?, side, negated: false },
    })
}

/// The protocol matches of a rule: ports in the order sport, dport, but a list of source ports last.
pub fn term(term: &Term, matches: &mut Vec<Match>) {
    let Term { proto, sport, dport, icmp_type } = term;
    let Some(proto) = proto else { return };
    matches.push(Match::Protocol(proto.clone()));
    if let Some((family, kind)) = icmp_type {
        // ip6tables has a module for each name of the protocol
        let module = match (family, proto.text()) {
            (Family::V4, _) => "icmp",
            (Family::V6, "ipv6-icmp") => "ipv6-icmp",
            (Family::V6, _) => "icmpv6",
        };
        matches.push(Match::Module(module));
        // ip6tables has no names for Multicast Listener Discovery
        matches.push(match kind.value.kind {
            Some(number) if kind.text().starts_with("mld") => icmp_number(number),
            _ => Match::Icmp(*family, kind.clone()),
        });
    }
    // iptables has no port match for udplite, but multiport supports it
    let multiport = proto.value == UDPLITE;
    let source = sport.as_ref().map(|ports| written(Side::Source, ports, multiport));
    let dest = dport.as_ref().map(|ports| written(Side::Destination, ports, multiport));
    match source {
        Some(list @ Match::Multiport(..)) => matches.extend(dest.into_iter().chain([list])),
        source => matches.extend(source.into_iter().chain(dest)),
    }
}

/// The number of the protocol udplite.
const UDPLITE: u8 = 136;

fn written(side: Side, ports: &Ports, multiport: bool) -> Match {
    match ports {
        Ports::One(ports) if multiport => {
            let list = Spelled::new(ports.text(), vec![ports.value]).expect("it was a word before");
            Match::Multiport(side, list.into())
        }
        Ports::One(ports) => Match::Port(side, ports.clone()),
        Ports::Several(ports) => Match::Multiport(side, ports.clone()),
    }
}
