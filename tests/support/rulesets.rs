//! Hand-written rulesets in the form of compiled ones.
#![allow(dead_code, reason = "each test program uses a part")]
use pve_firewall::iptables::ruleset::*;
use std::sync::Arc;

pub fn chain(name: &str) -> ChainName {
    ChainName::new(name).unwrap()
}

pub fn set(name: &str) -> SetName {
    SetName::new(name).unwrap()
}

pub fn interface(name: &str) -> Interface {
    Interface::new(name).unwrap()
}

/// A rule with a line of a file as its origin.
pub fn rule(matches: Vec<Match>, target: Target, line: u32) -> Rule {
    Rule {
        double_space: matches.is_empty(),
        matches: matches.into(),
        target,
        origin: Origin::Line("100.fw".into(), line),
    }
}

pub fn tcp(port: u16) -> Vec<Match> {
    let protocol = Match::Protocol(Spelled::new("tcp", 6).unwrap());
    vec![protocol, Match::Port(Side::Destination, Spelled::new(&port.to_string(), (port, port)).unwrap())]
}

pub fn in_set(name: &str) -> Vec<Match> {
    vec![Match::Set { name: set(name), side: Side::Source, negated: false }]
}

pub fn put(table: &mut Table, name: &str, rules: Vec<Rule>) {
    table.insert(chain(name), Arc::new(Chain::new(rules)));
}

/// Appends a rule to an existing chain.
pub fn append(table: &mut Table, name: &str, rule: Rule) {
    let mut rules = table[name].rules().to_vec();
    rules.push(rule);
    put(table, name, rules);
}

pub fn addresses(count: u32) -> Arc<Set> {
    let mut set = Set::new(Family::V4, count as usize, Origin::Generated("test".into()));
    for at in 0..count {
        set.add(format!("10.{}.{}.0/24", at / 256, at % 256).parse().unwrap(), false);
    }
    Arc::new(set)
}

/// A VM with one device: chains in both families and ebtables, and a set that a rule uses.
pub fn add_guest(ruleset: &mut Ruleset, vmid: u32) {
    let device = format!("tap{vmid}i0");
    let to = |chain_name: String| Target::Jump(chain(&chain_name));
    for family in Family::ALL {
        let table = &mut ruleset.filter[family];
        let mut inward = vec![rule(tcp(22), Target::Accept, 3), rule(tcp(23), Target::Drop, 4)];
        if family == Family::V4 {
            inward.push(rule(in_set(&format!("PVEFW-{vmid}-friends-v4")), Target::Accept, 5));
        }
        inward.push(rule(vec![], Target::Drop, 1));
        put(table, &format!("{device}-IN"), inward);
        put(table, &format!("{device}-OUT"), vec![rule(tcp(25), Target::Drop, 6)]);
        let towards = |port, end| rule(vec![Match::Physdev(port)], to(format!("{device}-{end}")), 2);
        append(table, "PVEFW-FWBR-IN", towards(Physdev::Out(interface(&device)), "IN"));
        append(table, "PVEFW-FWBR-OUT", towards(Physdev::In(interface(&device)), "OUT"));
    }
    ruleset.sets.insert(set(&format!("PVEFW-{vmid}-friends-v4")), addresses(10));
    add_bridge_guest(ruleset, &device);
}

fn add_bridge_guest(ruleset: &mut Ruleset, device: &str) {
    let bridge_rule = |matches: Vec<_>, target| BridgeRule {
        matches: matches.into(),
        target,
        origin: Origin::Line("100.fw".into(), 2),
    };
    let out = chain(&format!("{device}-OUT"));
    let mac = "BC:24:01:00:0F:30".parse().unwrap();
    let rules = vec![
        bridge_rule(vec![BridgeMatch::NotFrom(mac)], BridgeTarget::Drop),
        bridge_rule(vec![], BridgeTarget::Accept),
    ];
    ruleset.bridge.insert(out.clone(), Arc::new(BridgeChain::new(rules)));
    let mut entry = ruleset.bridge["PVEFW-FWBR-OUT"].rules().to_vec();
    entry.push(bridge_rule(vec![BridgeMatch::InInterface(interface(device))], BridgeTarget::Jump(out)));
    ruleset.bridge.insert(chain("PVEFW-FWBR-OUT"), Arc::new(BridgeChain::new(entry)));
}

/// The chains of the node, and of these guests.
pub fn node(guests: &[u32]) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let plain = |matches: Vec<_>, target| {
        let origin = Origin::Generated("the firewall".into());
        Rule { matches: matches.into(), target, double_space: false, origin }
    };
    for family in Family::ALL {
        let table = &mut ruleset.filter[family];
        put(table, "PVEFW-INPUT", vec![]);
        put(table, "PVEFW-OUTPUT", vec![]);
        put(table, "PVEFW-FWBR-IN", vec![]);
        put(table, "PVEFW-FWBR-OUT", vec![]);
        let out = |end| Target::Jump(chain(end));
        let entry = vec![
            plain(vec![Match::Conntrack(&[CtState::Invalid])], Target::Drop),
            plain(vec![Match::Physdev(Physdev::In(interface("fwln+")))], out("PVEFW-FWBR-IN")),
            plain(vec![Match::Physdev(Physdev::Out(interface("fwln+")))], out("PVEFW-FWBR-OUT")),
        ];
        put(table, "PVEFW-FORWARD", entry);
        let drop = plain(vec![Match::Conntrack(&[CtState::Invalid])], Target::Drop);
        put(&mut ruleset.raw[family], "PVEFW-PREROUTING", if family == Family::V4 { vec![] } else { vec![drop] });
    }
    let entry = BridgeRule {
        matches: [BridgeMatch::OutInterface(interface("fwln+"))].into(),
        target: BridgeTarget::Jump(chain("PVEFW-FWBR-OUT")),
        origin: Origin::Generated("the firewall".into()),
    };
    ruleset.bridge.insert(chain("PVEFW-FORWARD"), Arc::new(BridgeChain::new([entry])));
    ruleset.bridge.insert(chain("PVEFW-FWBR-OUT"), Arc::new(BridgeChain::default()));
    for vmid in guests {
        add_guest(&mut ruleset, *vmid);
    }
    ruleset
}
