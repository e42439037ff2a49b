//! Derives the findings from the evidence.
use super::evidence::{Enforcer, Evidence, ForeignTable, Scope, TableKind};
use super::foreign_accepts::{Bypass, bypasses, is_established_only, matches_names};
use super::foreign_rules::{BuiltIn, ForeignRule, ForeignRules};
use super::unread_queues::not_inspected;
use super::unread_tables::not_read;
use super::{Finding, MAX_COUNT, nat};
use crate::model::Family;
use crate::model::guest::{FIREWALL_BRIDGE, INNER_LINK};
use std::collections::BTreeSet;

/// All findings, each once.
#[must_use]
pub fn evaluate(evidence: &Evidence, scope: &Scope) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    match scope.enforcer {
        Enforcer::Nobody => {}
        Enforcer::Nftables | Enforcer::NftablesAlone if evidence.backend_tables.is_empty() => {
            return vec![Finding::BackendAbsent { instead: false }];
        }
        Enforcer::NftablesAlone => return vec![Finding::BackendStopped],
        Enforcer::Nftables => return Vec::new(),
        Enforcer::NftablesHere | Enforcer::NftablesAndChains | Enforcer::NftablesInstead => {
            return super::nftables_backend::evaluate(evidence, scope);
        }
        Enforcer::Iptables | Enforcer::IptablesAndTables | Enforcer::IptablesInstead => {
            of_ours(evidence, scope, &mut found)
        }
    }
    if scope.enforcer == Enforcer::IptablesInstead {
        found.insert(Finding::BackendAbsent { instead: true });
    } else if scope.enforcer == Enforcer::IptablesAndTables && !evidence.backend_tables.is_empty() {
        found.insert(Finding::BothBackends { tables: evidence.backend_tables.clone() });
    }
    found.extend(evidence.leftover_tools.iter().map(|tool| Finding::OtherVariant { tool: tool.clone() }));
    found.into_iter().collect()
}

fn of_ours(evidence: &Evidence, scope: &Scope, found: &mut BTreeSet<Finding>) {
    for table in &evidence.tables {
        let rules = match &table.rules {
            Ok(rules) => rules,
            Err(why) => {
                found.insert(Finding::NotEvaluated { table: table.name.clone(), why: why.to_string() });
                continue;
            }
        };
        let mut of_table = of_filters(table, rules, scope);
        if let TableKind::Nat(family) = table.kind {
            of_table.extend(nat::of_table(table, rules, family, evidence, scope));
        }
        let too_many = rules.too_many || of_table.len() > MAX_COUNT;
        of_table.truncate(MAX_COUNT);
        if too_many {
            let why = "it has too many rules of other programs that accept packets or jump".to_string();
            of_table.push(Finding::NotEvaluated { table: table.name.clone(), why });
        }
        found.extend(of_table);
    }
    found.extend(of_nft(evidence, scope));
    found.extend(not_read(evidence));
    found.extend(not_inspected(&evidence.queues, scope));
    if !scope.devices.is_empty() {
        of_bridges(evidence, scope, found);
    }
}

fn of_bridges(evidence: &Evidence, scope: &Scope, found: &mut BTreeSet<Finding>) {
    for family in Family::ALL {
        let on = evidence.bridge_filtering[family];
        if on != Some(true) {
            found.insert(Finding::BridgeFilteringOff { family, missing: on.is_none() });
        }
    }
    found.extend(evidence.without_physdev.iter().map(|family| Finding::NoPhysdev { family: *family }));
    found.extend(evidence.carried.iter().map(|carried| Finding::IptablesBypassed(*carried)));
    for device in &scope.devices {
        let bridge = evidence.attached.get(&device.to_string()).cloned().flatten();
        if let Some(bridge) = bridge.filter(|bridge| *bridge != device.bridge()) {
            found.insert(Finding::NotOnFirewallBridge { device: *device, bridge });
        }
    }
}

/// Findings about the rules of other programs in the built-in chains that jump to our entry chains.
fn of_filters(table: &ForeignTable, rules: &ForeignRules, scope: &Scope) -> Vec<Finding> {
    let decides = |chain: &str| match (table.kind, chain) {
        (TableKind::Filter(_), "INPUT" | "OUTPUT") => scope.host,
        (TableKind::Filter(_) | TableKind::Bridge, "FORWARD") => !scope.devices.is_empty(),
        _ => false,
    };
    let mut found = Vec::new();
    for (chain, built_in) in rules.built_in.iter().filter(|(chain, _)| decides(chain)) {
        let irrelevant = |rule: &ForeignRule| is_irrelevant(table.kind, chain, rule);
        for bypass in bypasses(built_in, rules, &irrelevant) {
            let (kind, table, chain) = (table.kind, table.name.clone(), chain.clone());
            found.push(match bypass {
                Bypass::Accepts { rule, by, all } => {
                    // IP packets still pass iptables
                    let all = all && kind != TableKind::Bridge;
                    Finding::AcceptedBefore { table, chain, rule, by, all }
                }
                Bypass::Unknown { rule } => {
                    Finding::NotEvaluated { table, why: format!("it has a rule with an unknown target: {rule}") }
                }
            });
        }
        // in ebtables the policy of our entry chain is ACCEPT, so no frame returns from it
        if chain == "FORWARD" && table.kind != TableKind::Bridge {
            found.extend(dropped_after(built_in).map(|rule| Finding::DroppedAfter {
                table: table.name.clone(),
                chain: chain.clone(),
                rule,
            }));
        }
    }
    found
}

/// Whether a rule matches no packet that our chains would drop.
fn is_irrelevant(kind: TableKind, chain: &str, rule: &ForeignRule) -> bool {
    let only = |option: &str, fits: &dyn Fn(&str) -> bool| {
        rule.value(option).is_some_and(|(value, negated)| !negated && !fits(value))
    };
    if kind == TableKind::Bridge {
        let firewall = |port: &str| matches_names(port, INNER_LINK);
        // iptables and ip6tables filter these
        let ip = rule.value("-p").is_some_and(|(name, negated)| !negated && matches!(name, "IPv4" | "IPv6"));
        return ip || only("-o", &firewall) || only("--logical-in", &is_firewall_bridge);
    }
    if is_established_only(rule) {
        return true;
    }
    match chain {
        "INPUT" => rule.value("-i") == Some(("lo", false)),
        "OUTPUT" => rule.value("-o") == Some(("lo", false)),
        // the chains of guests are evaluated for packets bridged by a firewall bridge
        _ => only("-i", &is_firewall_bridge) || only("-o", &is_firewall_bridge),
    }
}

fn is_firewall_bridge(pattern: &str) -> bool {
    matches_names(pattern, FIREWALL_BRIDGE)
}

/// The rule after ours in FORWARD that drops all bridged packets; `Some(None)` if the policy does, `None` if nothing does.
fn dropped_after(built_in: &BuiltIn) -> Option<Option<String>> {
    for rule in &built_in.after {
        match rule.target.as_str() {
            "ACCEPT" if rule.matches_bridged() => return None,
            "DROP" | "REJECT" if rule.matches_bridged() => return Some(Some(rule.text.clone())),
            _ => {}
        }
    }
    built_in.drops.then_some(None)
}

fn of_nft(evidence: &Evidence, scope: &Scope) -> Vec<Finding> {
    let mut found = Vec::new();
    for chain in evidence.chains.iter().filter(|chain| chain.drops && chain.forwards && !scope.devices.is_empty()) {
        let (table, chain) = (format!("nftables {}", chain.table), chain.chain.clone());
        found.push(Finding::DroppedAfter { table, chain, rule: None });
    }
    found.extend(nat::of_nft(evidence, scope));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::EncapsulatedFrame;
    use crate::iptables::plan::{TableName, read_nat, read_table};
    use crate::model::guest::GuestDevice;
    use crate::model::{Direction, Encapsulation, PerFamily};
    use std::sync::Arc;

    fn device(name: &str) -> GuestDevice {
        GuestDevice::parse(name).unwrap()
    }

    fn scope() -> Scope {
        let devices = vec![device("tap100i0"), device("veth200i1")];
        Scope { host: true, devices, enforcer: Enforcer::Iptables, ..Scope::default() }
    }

    fn healthy() -> Evidence {
        let ports =
            [("tap100i0", "fwbr100i0"), ("fwpr100p0", "vmbr0"), ("veth200i1", "fwbr200i1"), ("fwpr200p1", "vmbr1")];
        Evidence {
            bridge_filtering: PerFamily { v4: Some(true), v6: Some(true) },
            attached: Arc::new(ports.iter().map(|(port, to)| (port.to_string(), Some(to.to_string()))).collect()),
            networks: vec![("vmbr0".into(), "10.0.0.0/24".parse().unwrap())],
            ..Evidence::default()
        }
    }

    fn filter(rules: &str) -> ForeignTable {
        let rules = rules.replace('|', "\n-A ");
        let text = format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n:X - [0:0]\n{rules}\nCOMMIT\n"
        );
        let read = read_table(&text, TableName::Filter).unwrap();
        ForeignTable {
            name: "iptables filter".into(),
            kind: TableKind::Filter(Family::V4),
            rules: Ok(Arc::new(read.others)),
        }
    }

    fn nat(rules: &str) -> ForeignTable {
        let text = format!("*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n{rules}\nCOMMIT\n");
        let rules = read_nat(&text).map(Arc::new).map_err(|error| error.to_string().into());
        ForeignTable { name: "iptables-legacy nat".into(), kind: TableKind::Nat(Family::V4), rules }
    }

    fn kinds(evidence: &Evidence, scope: &Scope) -> Vec<&'static str> {
        evaluate(evidence, scope).iter().map(Finding::kind).collect()
    }

    #[test]
    fn rules_of_others_are_evaluated() {
        const HOOKS: &str = "|INPUT -j PVEFW-INPUT|FORWARD -j PVEFW-FORWARD|OUTPUT -j PVEFW-OUTPUT";
        for (before, found) in [
            ("", None),
            ("|INPUT -p tcp -m tcp --dport 22 -j ACCEPT", Some("accepted-before")),
            ("|INPUT -i lo -j ACCEPT", None),
            ("|INPUT ! -i lo -j ACCEPT", Some("accepted-before")),
            ("|OUTPUT -o lo -j ACCEPT", None),
            ("|OUTPUT -o eth0 -j ACCEPT", Some("accepted-before")),
            ("|INPUT -m state --state ESTABLISHED -j ACCEPT", None),
            ("|INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT", Some("accepted-before")),
            ("|INPUT -m comment --comment \"-j ACCEPT\" -j DROP", None),
            ("|INPUT -j NFQUEUE --queue-num 0", Some("accepted-before")),
            ("|INPUT -j RETURN", Some("accepted-before")),
            // the policy of OUTPUT drops
            ("|OUTPUT -j RETURN", None),
            ("|INPUT -j X|X -j RETURN", None),
            ("|INPUT -g X|X -s 10.0.0.1/32 -j DROP", Some("accepted-before")),
            ("|INPUT -j X|X -j ACCEPT", Some("accepted-before")),
            ("|INPUT -i lo -j X|X -j ACCEPT", None),
            ("|INPUT -j X|X -j X", None),
            ("|INPUT -j X|X -j Y|Y -j ACCEPT", Some("accepted-before")),
            ("|INPUT -p tcp -j STRANGE --option 1", Some("not-judged")),
            ("|INPUT -m strange --wild 1 -j DROP", None),
            ("|FORWARD -i docker0 -j ACCEPT", None),
            ("|FORWARD -i fwbr+ -j ACCEPT", Some("accepted-before")),
            ("|FORWARD -o fw+ -j ACCEPT", Some("accepted-before")),
            ("|FORWARD -i vmbr+ -j ACCEPT", None),
        ] {
            let evidence = Evidence { tables: vec![filter(&format!("{before}{HOOKS}"))], ..healthy() };
            assert_eq!(kinds(&evidence, &scope()), Vec::from_iter(found), "{before}");
            let off = Scope { host: false, devices: Vec::new(), ..scope() };
            assert_eq!(kinds(&evidence, &off), [""; 0], "{before}");
        }
        for (behind, found) in [
            ("|INPUT -j ACCEPT", None),
            ("|FORWARD -j DROP", Some("dropped-behind")),
            ("|FORWARD -i docker0 -j DROP", None),
            (
                "|FORWARD -m physdev --physdev-is-bridged -j ACCEPT|FORWARD -j REJECT --reject-with icmp-port-unreachable",
                None,
            ),
        ] {
            let evidence = Evidence { tables: vec![filter(&format!("{HOOKS}{behind}"))], ..healthy() };
            assert_eq!(kinds(&evidence, &scope()), Vec::from_iter(found), "{behind}");
        }
    }

    #[test]
    fn address_translation_is_evaluated() {
        for (rule, found) in [
            ("-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE", Some("nat-without-zone")),
            ("-A POSTROUTING -o eth0 -j SNAT --to-source 192.0.2.1", Some("nat-without-zone")),
            ("-A POSTROUTING ! -s 10.9.0.0/24 -j MASQUERADE", Some("nat-without-zone")),
            ("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", None),
            (
                "-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80",
                Some("dnat-past-the-node"),
            ),
            ("-A PREROUTING -d 127.0.0.1/32 -p tcp -j DNAT --to-destination 172.17.0.2:80", None),
            // to a guest, whose rules decide
            ("-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.100:80", None),
            ("-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080", None),
            ("# Table `nat' is incompatible, use 'nft' tool.", Some("not-judged")),
        ] {
            let evidence = Evidence { tables: vec![nat(rule)], ..healthy() };
            assert_eq!(kinds(&evidence, &scope()), Vec::from_iter(found), "{rule}");
        }
    }

    #[test]
    fn bridges_and_backends_are_evaluated() {
        assert_eq!(kinds(&healthy(), &scope()), [""; 0]);
        let ports = |of: &[(&str, &str)]| {
            Arc::new(of.iter().map(|(port, to)| (port.to_string(), Some(to.to_string()))).collect())
        };
        let with = |change: &dyn Fn(&mut Evidence)| {
            let mut evidence = healthy();
            change(&mut evidence);
            evaluate(&evidence, &scope())
        };
        let off = with(&|evidence| evidence.bridge_filtering = PerFamily { v4: Some(false), v6: None });
        assert_eq!(
            off,
            [
                Finding::BridgeFilteringOff { family: Family::V4, missing: false },
                Finding::BridgeFilteringOff { family: Family::V6, missing: true },
            ]
        );
        let bare = with(&|evidence| evidence.attached = ports(&[("tap100i0", "vmbr0")]));
        assert_eq!(bare, [Finding::NotOnFirewallBridge { device: device("tap100i0"), bridge: "vmbr0".into() }]);
        assert_eq!(
            with(&|evidence| evidence.without_physdev = vec![Family::V4]),
            [Finding::NoPhysdev { family: Family::V4 }]
        );
        let carried = EncapsulatedFrame {
            device: device("tap100i0"),
            direction: Direction::In,
            encapsulation: Encapsulation::Vlan,
        };
        assert_eq!(with(&|evidence| evidence.carried = vec![carried]), [Finding::IptablesBypassed(carried)]);
        assert_eq!(
            with(&|evidence| evidence.leftover_tools = vec!["iptables-nft".into()]),
            [Finding::OtherVariant { tool: "iptables-nft".into() }]
        );
        let inspected = Scope { inspected: [(100, (0, 3)), (200, (7, 7))].into(), ..scope() };
        let read = |queues: &[u16]| Evidence { queues: queues.iter().copied().collect(), ..healthy() };
        let of = |queues, unread: &[(u16, u16)]| Finding::NotInspected { queues, unread: unread.into() };
        assert_eq!(evaluate(&read(&[]), &inspected), [of((0, 3), &[(0, 3)]), of((7, 7), &[(7, 7)])]);
        let partly = evaluate(&read(&[1, 7, 9]), &inspected);
        assert_eq!(partly, [of((0, 3), &[(0, 0), (2, 3)])]);
        assert!(partly[0].text().contains("no program reads queues 0, 2:3:"), "{}", partly[0].text());
        assert_eq!(partly[0].affected(&healthy(), &inspected).guests, [100].into());
        assert_eq!(evaluate(&read(&[0, 1, 2, 3, 7]), &inspected), []);
        let tables = vec!["inet proxmox-firewall".to_string()];
        let both = Evidence { backend_tables: tables.clone(), ..healthy() };
        let remaining = Scope { enforcer: Enforcer::IptablesAndTables, ..scope() };
        // the other daemon has some time to remove them
        assert_eq!(evaluate(&both, &scope()), []);
        assert_eq!(evaluate(&both, &remaining), [Finding::BothBackends { tables }]);
        assert_eq!(evaluate(&healthy(), &remaining), []);
        let instead = Scope { enforcer: Enforcer::IptablesInstead, ..scope() };
        assert_eq!(evaluate(&healthy(), &instead), [Finding::BackendAbsent { instead: true }]);
        let alone = Scope { enforcer: Enforcer::NftablesAlone, ..scope() };
        assert_eq!(evaluate(&healthy(), &alone), [Finding::BackendAbsent { instead: false }]);
        let live = Evidence { backend_tables: vec!["inet proxmox-firewall".into()], ..healthy() };
        assert_eq!(evaluate(&live, &alone), [Finding::BackendStopped]);
        let withdrawn = Scope { enforcer: Enforcer::Nftables, ..scope() };
        assert_eq!(evaluate(&healthy(), &withdrawn), [Finding::BackendAbsent { instead: false }]);
    }

    #[test]
    fn every_finding_is_described() {
        let findings = [
            Finding::BackendAbsent { instead: false },
            Finding::BackendStopped,
            Finding::NoPhysdev { family: Family::V6 },
            Finding::BridgeFilteringOff { family: Family::V6, missing: true },
            Finding::NotEvaluated { table: "ip6tables filter".into(), why: "x".into() },
        ];
        for finding in findings {
            assert!(super::super::KINDS.contains(&finding.kind()));
            assert!(!finding.text().contains('\n') && !finding.text().contains("  "), "{}", finding.text());
            assert!(!finding.remedy().is_empty() && !finding.remedy().contains("  "), "{}", finding.remedy());
        }
    }
}
