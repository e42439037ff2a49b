//! Findings about address translation by other programs.
use super::evidence::{Evidence, ForeignTable, NatSource, NftNat, Scope, TableKind};
use super::foreign_rules::{ForeignRule, ForeignRules};
use super::{Finding, Guests};
use crate::model::Family;
use crate::model::guest::FIREWALL_BRIDGE;
use ipnet::IpNet;

/// Targets that translate the source.
const SOURCE_NAT: [&str; 3] = ["MASQUERADE", "SNAT", "NETMAP"];

/// The findings about the rules of a table `nat`.
pub(super) fn of_table(
    table: &ForeignTable,
    rules: &ForeignRules,
    family: Family,
    evidence: &Evidence,
    scope: &Scope,
) -> Vec<Finding> {
    let before = |hook: &str| rules.built_in.get(hook).map(|chain| chain.before.as_slice()).unwrap_or_default();
    let all = || before("PREROUTING").iter().chain(before("POSTROUTING")).chain(rules.chains.values().flatten());
    let mut found = Vec::new();
    for rule in all() {
        let (table, text) = (table.name.clone(), rule.text.clone());
        let net = |option| rule.value(option).and_then(|(net, negated)| Some((parse_net(net)?, negated)));
        if SOURCE_NAT.contains(&rule.target.as_str()) {
            let source = match net("-s") {
                Some((net, false)) => NatSource::Net(net),
                _ => NatSource::Any,
            };
            if !guests_behind(family, source, evidence, scope).is_empty() && !has_zone(family, evidence) {
                found.push(Finding::NatWithoutZone { table, rule: text });
            }
        } else if rule.target == "DNAT" && scope.host {
            let local = net("-d").is_some_and(|(net, negated)| !negated && net.addr().is_loopback());
            let to = rule.text.split("--to-destination ").nth(1).and_then(address).map(IpNet::from);
            if !local && !to.is_some_and(|to| leads_to_guests(to, evidence, scope)) {
                found.push(Finding::PastTheNode { table, rule: text });
            }
        }
    }
    found
}

fn parse_net(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

/// The address in `ADDRESS[:PORT]`, `[ADDRESS]:PORT` or a range of addresses.
fn address(text: &str) -> Option<std::net::IpAddr> {
    let word = text.split([' ', '-']).next()?;
    let word = word.strip_prefix('[').map_or(word, |word| word.split(']').next().unwrap_or(word));
    word.parse().ok().or_else(|| word.split(':').next()?.parse().ok())
}

/// Whether packets on firewall bridges have a conntrack zone of their own.
fn has_zone(family: Family, evidence: &Evidence) -> bool {
    let zoned = |rule: &ForeignRule| {
        rule.target == "CT"
            && rule.value("--zone").is_some()
            && rule.value("-i").is_none_or(|(pattern, negated)| !negated && covers_firewall_bridges(pattern))
    };
    let raw = evidence.tables.iter().filter(|table| table.kind == TableKind::Raw(family));
    raw.filter_map(|table| table.rules.as_ref().ok()).any(|rules| {
        let hook = rules.built_in.get("PREROUTING");
        hook.is_some_and(|chain| chain.before.iter().chain(&chain.after).any(zoned))
            || rules.chains.values().flatten().any(zoned)
    })
}

fn covers_firewall_bridges(pattern: &str) -> bool {
    pattern.strip_suffix('+').is_some_and(|start| FIREWALL_BRIDGE.starts_with(start))
}

/// The guests whose firewalled devices are attached to a bridge where the node has an address, and so may be the router of
/// addresses of this source.
pub(super) fn guests_behind(family: Family, source: NatSource, evidence: &Evidence, scope: &Scope) -> Guests {
    let devices = scope.devices.iter().filter(|device| {
        let Some(Some(bridge)) = evidence.attached.get(&device.outer_link()) else { return false };
        evidence.networks.iter().any(|(interface, net)| {
            interface == bridge && Family::of(net.addr()) == family && !is_link_local(net) && overlaps(net, source)
        })
    });
    devices.map(|device| device.vmid).collect()
}

fn leads_to_guests(to: IpNet, evidence: &Evidence, scope: &Scope) -> bool {
    !guests_behind(Family::of(to.addr()), NatSource::Net(to), evidence, scope).is_empty()
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().segments()[0] & 0xffc0 == 0xfe80)
}

fn overlaps(net: &IpNet, source: NatSource) -> bool {
    match source {
        NatSource::Any => true,
        NatSource::Net(source) => net.contains(&source.network()) || source.contains(&net.network()),
    }
}

/// The findings about address translation in nftables, outside of the tables that iptables shows.
pub(super) fn of_nft(evidence: &Evidence, scope: &Scope) -> Vec<Finding> {
    let mut found = Vec::new();
    for NftNat { table, chain, source, of, at, to } in &evidence.nat {
        let (table, rule) = (format!("nftables {table}"), format!("a rule of the chain {chain}"));
        let concerns = |family| !guests_behind(family, *of, evidence, scope).is_empty() && !has_zone(family, evidence);
        let is_loopback = at.is_some_and(|net| net.addr().is_loopback());
        let to_guest = to.is_some_and(|to| leads_to_guests(to.into(), evidence, scope));
        match source {
            true if Family::ALL.into_iter().any(concerns) => found.push(Finding::NatWithoutZone { table, rule }),
            false if scope.host && !is_loopback && !to_guest => found.push(Finding::PastTheNode { table, rule }),
            _ => {}
        }
    }
    found
}
