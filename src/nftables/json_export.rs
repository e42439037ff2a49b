//! A ruleset as the JSON of libnftables-json(5), for `nft -j -f -`.
use super::names::{Name, TableName};
use super::ruleset::{
    Action, Addresses, Chain, CtStates, DynamicSet, HelperObject, Interval, Limit, Map, MapKey, Match, PacketType,
    Rejection, Rule, Ruleset, Set, SetKind, Side, Signature, Table, VerdictTarget, with_ports,
};
use crate::model::{Family, Interface, MacAddr, TimeUnit};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The document that replaces both tables in one transaction; without any rule it is empty.
#[must_use]
pub fn document(ruleset: &Ruleset) -> Value {
    let mut commands = Vec::new();
    if !ruleset.tables.is_empty() {
        for name in TableName::ALL {
            let table = json!({ "table": { "family": name.family(), "name": name.as_str() } });
            // deleting a table that does not exist is an error
            commands.extend([json!({ "add": table }), json!({ "delete": table })]);
            if let Some(content) = ruleset.tables.get(&name) {
                commands.push(json!({ "add": table }));
                Writer { name, commands: &mut commands }.table(content);
            }
        }
    }
    json!({ "nftables": commands })
}

struct Writer<'a> {
    name: TableName,
    commands: &'a mut Vec<Value>,
}

impl Writer<'_> {
    fn add(&mut self, kind: &str, mut object: Value) {
        object["family"] = json!(self.name.family());
        object["table"] = json!(self.name.as_str());
        self.commands.push(json!({ "add": { kind: object } }));
    }

    fn table(&mut self, Table { chains, sets, maps, dynamic_sets, helpers }: &Table) {
        sets.iter().for_each(|(name, one)| self.add("set", set(name, one)));
        dynamic_sets.iter().for_each(|(name, one)| self.add("set", dynamic_set(name, one)));
        maps.iter().for_each(|(name, one)| self.add("map", map(name, one)));
        helpers.iter().for_each(|(name, one)| self.add("ct helper", helper(name, one)));
        for (name, one) in chains {
            let mut object = json!({ "name": name.as_str() });
            if let Some(hook) = one.hook() {
                object["type"] = json!("filter");
                object["hook"] = json!(hook.name);
                object["prio"] = json!(hook.priority);
                object["policy"] = json!("accept");
            }
            self.add("chain", object);
        }
        chains.iter().for_each(|(name, one)| self.rules(name, one));
        for (name, one) in maps.iter().filter(|(_, map)| !map.elements.is_empty()) {
            let elements = one.elements.iter().map(|(interface, target)| element(one.key, interface, target));
            self.add("element", json!({ "name": name.as_str(), "elem": elements.collect::<Vec<_>>() }));
        }
    }

    fn rules(&mut self, name: &Name, chain: &Chain) {
        let count = chain.rules().len();
        for (at, rule) in chain.rules().iter().enumerate() {
            let signature = (at + 1 == count).then(|| chain.signature());
            let mut object = json!({ "chain": name.as_str(), "expr": expressions(rule) });
            if let Some(comment) = comment(rule, signature) {
                object["comment"] = json!(comment);
            }
            self.add("rule", object);
        }
    }
}

fn comment(rule: &Rule, signature: Option<Signature>) -> Option<String> {
    let words = [rule.comment().map(|place| place.to_string()), signature.map(|signature| signature.to_string())];
    let words: Vec<String> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

fn set(name: &Name, Set { kind, origin: _ }: &Set) -> Value {
    let (kind, elements): (&str, Vec<Value>) = match kind {
        SetKind::Addresses(family, set) => (address_type(*family), set.intervals().iter().map(interval).collect()),
        SetKind::Ports(ranges) => ("inet_service", ranges.iter().map(|ports| port(*ports)).collect()),
    };
    let mut object = json!({ "name": name.as_str(), "type": kind, "flags": ["interval"] });
    // an empty list is an error
    if !elements.is_empty() {
        object["elem"] = json!(elements);
    }
    object
}

/// Without the flag `dynamic`, which nft 1.0.6 does not accept in JSON: it sets the flag itself if a rule updates the set.
fn dynamic_set(name: &Name, DynamicSet { family, timeout, size }: &DynamicSet) -> Value {
    json!({
        "name": name.as_str(), "type": address_type(*family), "flags": ["timeout"], "timeout": timeout, "size": size,
    })
}

fn map(name: &Name, Map { key, elements: _ }: &Map) -> Value {
    let kind = match key {
        MapKey::InInterface | MapKey::OutInterface => json!("ifname"),
        MapKey::Bridges => json!(["ifname", "ifname"]),
    };
    json!({ "name": name.as_str(), "type": kind, "map": "verdict" })
}

fn element(key: MapKey, interface: &Interface, target: &VerdictTarget) -> Value {
    let name = interface_name(interface);
    let key = match key {
        MapKey::InInterface | MapKey::OutInterface => json!(name),
        MapKey::Bridges => json!({ "concat": [name, name] }),
    };
    let verdict = match target {
        VerdictTarget::Jump(chain) => json!({ "jump": { "target": chain.as_str() } }),
        VerdictTarget::Goto(chain) => json!({ "goto": { "target": chain.as_str() } }),
    };
    json!([key, verdict])
}

fn helper(name: &Name, HelperObject { kind, protocol, family }: &HelperObject) -> Value {
    let family = family.map_or("inet", Family::nft);
    json!({ "name": name.as_str(), "type": kind, "protocol": protocol, "l3proto": family })
}

/// The name of an interface. A trailing `+` stands for any suffix; a trailing asterisk is escaped, because it is part of the
/// name.
fn interface_name(interface: &Interface) -> String {
    let name = interface.as_str();
    match (name.strip_suffix('+'), name.strip_suffix('*')) {
        (Some(start), _) => format!("{start}*"),
        (None, Some(start)) => format!("{start}\\*"),
        (None, None) => name.to_string(),
    }
}

fn mac_text(MacAddr([a, b, c, d, e, f]): MacAddr) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn interval(interval: &Interval) -> Value {
    let (first, last) = interval.ends();
    match interval.as_net() {
        _ if first == last => json!(first.to_string()),
        Some(net) => json!({ "prefix": { "addr": net.addr().to_string(), "len": net.prefix_len() } }),
        None => json!({ "range": [first.to_string(), last.to_string()] }),
    }
}

fn port((first, last): (u16, u16)) -> Value {
    if first == last { json!(first) } else { json!({ "range": [first, last] }) }
}

fn expressions(rule: &Rule) -> Vec<Value> {
    let mut all: Vec<Value> = rule.matches.iter().flat_map(one_match).collect();
    all.extend(statements(&rule.action));
    all
}

fn compare(negated: bool, left: &Value, right: &Value) -> Value {
    json!({ "match": { "op": if negated { "!=" } else { "==" }, "left": left, "right": right } })
}

fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn one_match(one: &Match) -> Vec<Value> {
    let is = |left: Value, right: Value| vec![compare(false, &left, &right)];
    let is_not = |left: Value, right: Value| vec![compare(true, &left, &right)];
    match one {
        Match::InInterface(name) => is(meta("iifname"), json!(interface_name(name))),
        Match::OutInterface(name) => is(meta("oifname"), json!(interface_name(name))),
        Match::NotForwarded => is(meta("pkttype"), json!("host")),
        Match::HasRoute => is(meta("rtclassid"), json!({"range": [0, u32::MAX]})),
        Match::Family(family) => is(meta("protocol"), json!(family.nft())),
        Match::Arp => is(meta("protocol"), json!("arp")),
        Match::Ethertype { negated, code } => {
            vec![compare(*negated, &meta("protocol"), &json!(format!("0x{code:04x}")))]
        }
        Match::FrameType { negated, types: (first, last) } => {
            let number = |code: &u16| format!("0x{code:04x}");
            let types =
                if first == last { json!(number(first)) } else { json!({ "range": [number(first), number(last)] }) };
            vec![compare(*negated, &payload("ether", "type"), &types)]
        }
        Match::NotFromMac(mac) => is_not(payload("ether", "saddr"), json!(mac_text(*mac))),
        Match::NotArpMac(mac) => is_not(payload("arp", "saddr ether"), json!(mac_text(*mac))),
        Match::NotArpSource(first, last) => {
            let range = Interval::new(IpAddr::V4(*first), IpAddr::V4(*last));
            range.map_or_else(Vec::new, |range| is_not(payload("arp", "saddr ip"), interval(&range)))
        }
        Match::NotArpSourceIn(set) => is_not(payload("arp", "saddr ip"), json!(format!("@{set}"))),
        Match::Protocol(protocol) => is(meta("l4proto"), json!(protocol)),
        Match::Port { protocol, side, ports } => of_port(*protocol, *side, &port(*ports)),
        Match::PortIn { protocol, side, set } => of_port(*protocol, *side, &json!(format!("@{set}"))),
        Match::Icmp { family, kind, code } => {
            let name = if *family == Family::V4 { "icmp" } else { "icmpv6" };
            let code = code.map(|code| compare(false, &payload(name, "code"), &json!(code)));
            is(payload(name, "type"), json!(kind)).into_iter().chain(code).collect()
        }
        Match::Address { side, negated, addresses } => {
            let right = match addresses {
                Addresses::Interval(range) => interval(range),
                Addresses::Set(_, name) => json!(format!("@{name}")),
            };
            vec![compare(*negated, &payload(addresses.family().nft(), side.address()), &right)]
        }
        Match::Ct(state) => {
            let states = match state {
                CtStates::Known => ["established", "related"].as_slice(),
                CtStates::Invalid => &["invalid"],
                CtStates::NewOrInvalid => &["new", "invalid"],
            };
            vec![json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": states } })]
        }
        Match::TcpFlags { negated, mask, set } => {
            vec![compare(*negated, &json!({ "&": [payload("tcp", "flags"), mask.0] }), &json!(set.0))]
        }
        Match::Broadcast(side) => {
            is(json!({ "fib": { "result": "type", "flags": [side.address()] } }), json!("broadcast"))
        }
        Match::Anycast => is(json!({ "fib": { "result": "type", "flags": ["daddr"] } }), json!("anycast")),
        Match::PacketType(PacketType::Broadcast) => is(meta("pkttype"), json!("broadcast")),
        Match::PacketType(PacketType::Multicast) => is(meta("pkttype"), json!("multicast")),
    }
}

fn of_port(protocol: u8, side: Side, right: &Value) -> Vec<Value> {
    let name = with_ports(protocol);
    let guard = (name == "th").then(|| compare(false, &meta("l4proto"), &json!(protocol)));
    guard.into_iter().chain([compare(false, &payload(name, side.port()), right)]).collect()
}

fn statements(action: &Action) -> Vec<Value> {
    let reject = |family, with: &str| vec![json!({ "reject": { "type": family, "expr": with } })];
    match action {
        Action::Accept => vec![json!({ "accept": null })],
        Action::Drop => vec![json!({ "drop": null })],
        Action::Return => vec![json!({ "return": null })],
        Action::Jump(chain) => vec![json!({ "jump": { "target": chain.as_str() } })],
        Action::Goto(chain) => vec![json!({ "goto": { "target": chain.as_str() } })],
        Action::Reject(Rejection::TcpReset) => vec![json!({ "reject": { "type": "tcp reset" } })],
        Action::Reject(Rejection::PortUnreachable(Family::V4)) => reject("icmp", "port-unreachable"),
        Action::Reject(Rejection::PortUnreachable(Family::V6)) => reject("icmpv6", "port-unreachable"),
        Action::Reject(Rejection::Prohibited(Family::V4)) => reject("icmp", "host-prohibited"),
        Action::Reject(Rejection::Prohibited(Family::V6)) => reject("icmpv6", "admin-prohibited"),
        Action::Log(log) => {
            let (prefix, limit) = &**log;
            let log = json!({ "log": { "prefix": prefix.text(), "group": 0 } });
            limit.as_ref().map(rate).into_iter().chain([log]).collect()
        }
        Action::CtMark(mark) => vec![json!({ "mangle": { "key": { "ct": { "key": "mark" } }, "value": mark } })],
        Action::CtHelper(name) => vec![json!({ "ct helper": name.as_str() })],
        Action::Queue(first, last) => vec![json!({ "queue": { "num": port((*first, *last)), "flags": "bypass" } })],
        Action::DropAbove { family, set, limit: (rate, burst) } => {
            let source = match family {
                Family::V4 => payload("ip", "saddr"),
                Family::V6 => json!({ "&": [payload("ip6", "saddr"), "ffff:ffff:ffff:ffff::"] }),
            };
            let limit = json!({ "limit": { "rate": rate, "burst": burst, "per": "second", "inv": true } });
            let update = json!({ "op": "update", "elem": source, "set": format!("@{set}"), "stmt": [limit] });
            vec![json!({ "set": update }), json!({ "drop": null })]
        }
        Action::VerdictMap(key, map) => {
            let key = match key {
                MapKey::InInterface => meta("iifname"),
                MapKey::OutInterface => meta("oifname"),
                MapKey::Bridges => json!({ "concat": [meta("ibrname"), meta("obrname")] }),
            };
            vec![json!({ "vmap": { "key": key, "data": format!("@{map}") } })]
        }
    }
}

fn rate(Limit { rate, burst }: &Limit) -> Value {
    let unit = match rate.per {
        TimeUnit::Second => "second",
        TimeUnit::Minute => "minute",
        TimeUnit::Hour => "hour",
        TimeUnit::Day => "day",
    };
    json!({ "limit": { "rate": rate.packets, "burst": burst, "per": unit } })
}
