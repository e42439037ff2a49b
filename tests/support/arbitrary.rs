//! Arbitrary rulesets that the kernel accepts.
#![allow(dead_code, reason = "each test program uses a part")]
use crate::rulesets::{chain, interface, rule, set};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use pve_firewall::iptables::ruleset::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const CHAINS: [&str; 8] = [
    "GROUP-web-IN",
    "PVEFW-Drop",
    "tap100i0-IN",
    "tap100i0-OUT",
    "tap1000i0-IN",
    "veth200i12-OUT",
    "PVEFW-reject",
    "fwbr7v1-FW",
];
const SETS: [&str; 3] = ["PVEFW-0-management", "PVEFW-100-ipfilter-net0", "PVEFW-1A2B3C4"];

fn net(family: Family) -> BoxedStrategy<ipnet::IpNet> {
    // a set of type hash:net refuses a prefix of length 0
    match family {
        Family::V4 => (any::<u32>(), 1..=32u8)
            .prop_map(|(bits, length)| ipnet::IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(bits)), length).unwrap())
            .boxed(),
        Family::V6 => (any::<u128>(), 1..=128u8)
            .prop_map(|(bits, length)| ipnet::IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), length).unwrap())
            .boxed(),
    }
}

fn port() -> impl Strategy<Value = Vec<Match>> {
    (select(&[("tcp", 6), ("udp", 17)][..]), select(&[Side::Source, Side::Destination][..]), any::<[u16; 2]>())
        .prop_map(|((name, number), side, [a, b])| {
            let (low, high) = (a.min(b), a.max(b));
            let ports = Spelled::new(&format!("{low}:{high}"), (low, high)).unwrap();
            vec![Match::Protocol(Spelled::new(name, number).unwrap()), Match::Port(side, ports)]
        })
}

fn matches(family: Family) -> impl Strategy<Value = Vec<Match>> {
    let address = (net(family), select(&[Side::Source, Side::Destination][..]))
        .prop_map(|(net, side)| vec![Match::Address(side, Spelled::new(&net.to_string(), vec![net]).unwrap().into())]);
    let in_set = (select(&SETS[..]), any::<bool>()).prop_map(move |(name, negated)| {
        let name = set(&set_name(name, family));
        vec![Match::Set { name, side: Side::Source, negated }]
    });
    prop_oneof![
        2 => Just(vec![]),
        3 => port(),
        2 => address,
        2 => in_set,
        1 => Just(vec![Match::Conntrack(&[CtState::Related, CtState::Established])]),
        1 => Just(vec![Match::Physdev(Physdev::In(interface("fwln+")))]),
        1 => Just(vec![Match::Mark { value: 0x8000_0000, mask: 0x8000_0000 }]),
        1 => Just(vec![Match::AddrType(Side::Destination, AddrType::Multicast)]),
    ]
}

/// Jumps only to chains later in `CHAINS`, so that there are no loops.
fn target(index: usize) -> impl Strategy<Value = Target> {
    let later: Vec<Target> = CHAINS[index + 1..].iter().map(|name| Target::Jump(chain(name))).collect();
    let log = LogPrefix { vmid: 100, level: 6, chain: chain("tap100i0-IN"), message: "DROP: " };
    let mut all = vec![
        Target::Accept,
        Target::Drop,
        Target::Return,
        Target::Nflog(Box::new(log)),
        Target::SetMark { value: 0, mask: 0x8000_0000 },
        Target::SetConnmark(100),
        Target::Nfqueue(Queue::Number(3)),
    ];
    all.extend(later);
    select(all)
}

fn set_name(stem: &str, family: Family) -> String {
    format!("{stem}-v{}", if family == Family::V4 { 4 } else { 6 })
}

fn table(family: Family) -> impl Strategy<Value = Table> {
    let rules = |index| vec((matches(family), target(index)), 0..5);
    let present: Vec<_> = (0..CHAINS.len()).map(|index| proptest::option::weighted(0.8, rules(index))).collect();
    present.prop_map(|present| {
        let names: Vec<_> =
            CHAINS.iter().zip(&present).filter(|(_, rules)| rules.is_some()).map(|(name, _)| *name).collect();
        let there = |target: &Target| match target {
            Target::Jump(to) => names.contains(&to.as_str()),
            _ => true,
        };
        let mut table = Table::new();
        for (name, rules) in CHAINS.iter().zip(present.iter()) {
            let Some(rules) = rules else { continue };
            let rules = rules.iter().filter(|(_, target)| there(target));
            let rules: Vec<_> = rules.map(|(matches, target)| rule(matches.clone(), target.clone(), 1)).collect();
            table.insert(chain(name), Arc::new(Chain::new(rules)));
        }
        let entry: Vec<_> = names.iter().map(|name| rule(vec![], Target::Jump(chain(name)), 1)).collect();
        table.insert(chain("PVEFW-FORWARD"), Arc::new(Chain::new(entry)));
        table
    })
}

fn sets() -> impl Strategy<Value = Vec<(SetName, Set)>> {
    let one = |stem: &'static str, family| {
        vec((net(family), any::<bool>()), 0..80).prop_map(move |entries| {
            let mut filled = Set::new(family, entries.len(), Origin::Generated("test".into()));
            entries.into_iter().for_each(|(net, nomatch)| filled.add(net, nomatch));
            (set(&set_name(stem, family)), filled)
        })
    };
    SETS.into_iter().flat_map(|stem| Family::ALL.map(|family| one(stem, family))).collect::<Vec<_>>()
}

fn bridge() -> impl Strategy<Value = Chains<BridgeChain>> {
    let one = prop_oneof![
        any::<[u8; 6]>().prop_map(|octets| vec![BridgeMatch::NotFrom(MacAddr(octets))]),
        (any::<u32>(), 1..=32u8).prop_map(|(bits, length)| {
            let net = ipnet::Ipv4Net::new(Ipv4Addr::from_bits(bits), length).unwrap();
            vec![BridgeMatch::Protocol(Token::new("ARP").unwrap()), BridgeMatch::ArpSource(net)]
        }),
        select(&["IPv4", "IPv6", "802_1Q", "PPP_DISC", "LLDP"][..])
            .prop_map(|name| vec![BridgeMatch::Protocol(Token::new(name).unwrap())]),
        Just(vec![]),
    ];
    let target = select(vec![BridgeTarget::Accept, BridgeTarget::Drop, BridgeTarget::Return]);
    let made = |(matches, target): (Vec<_>, _)| BridgeRule {
        matches: matches.into(),
        target,
        origin: Origin::Generated("test".into()),
    };
    let names = select(&["PVEFW-FORWARD", "tap100i0-OUT", "tap100i0-OUT-ARP", "veth7i1-OUT-PROTO"][..]);
    let chains = btree_map(
        names.prop_map(chain),
        vec((one, target).prop_map(made), 0..4).prop_map(|rules| Arc::new(BridgeChain::new(rules))),
        0..4,
    );
    chains.prop_map(Chains::from_iter)
}

/// Any ruleset.
pub fn ruleset() -> impl Strategy<Value = Ruleset> {
    let raw = |family| {
        vec(matches(family), 0..3).prop_map(|all| {
            let rules: Vec<_> = all.into_iter().map(|matches| rule(matches, Target::Drop, 1)).collect();
            Table::unit(chain("PVEFW-PREROUTING"), Arc::new(Chain::new(rules)))
        })
    };
    let raw = |family| proptest::option::of(raw(family)).prop_map(Option::unwrap_or_default);
    let filter = (table(Family::V4), table(Family::V6));
    (filter, (raw(Family::V4), raw(Family::V6)), bridge(), sets()).prop_map(|(filter, raw, bridge, sets)| Ruleset {
        filter: PerFamily { v4: filter.0, v6: filter.1 },
        raw: PerFamily { v4: raw.0, v6: raw.1 },
        bridge,
        sets: sets.into_iter().map(|(name, set)| (name, Arc::new(set))).collect(),
        ..Ruleset::default()
    })
}
