//! Configurations that block all management access to the node.
use super::parsed_files::Files;
use crate::config::{Configuration, IpSet, Rule, RuleAction, VerdictRule};
use crate::inputs::Facts;
use crate::model::{Address, Direction, Family, Literal, Origin, Report, SetScope, Verdict};
use crate::simulate::{Decided, End, Packet, Sent};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The ports for management, with the names of their services.
const PORTS: [(u16, &str); 2] = [(22, "SSH"), (8006, "the web interface")];
/// The set of sources whose packets are dropped before all rules.
const BLACKLIST: &str = "blacklist";
/// Example addresses of other machines (RFC 5737, RFC 3849).
const ANYWHERE: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(198, 51, 100, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// The interface of the node's address, if no rule contains one.
const DEFAULT_BRIDGE: &str = "vmbr0";

/// The rules of the backend that the node uses.
pub enum RulesInUse {
    /// Those of iptables.
    Iptables(Arc<crate::iptables::ruleset::Ruleset>),
    /// Those of nftables.
    Nftables(Arc<crate::nftables::ruleset::Ruleset>),
}

impl RulesInUse {
    fn decide(&self, sent: &Sent<'_>) -> Decided {
        match self {
            RulesInUse::Iptables(ruleset) => crate::iptables::simulate::decide(ruleset, sent),
            RulesInUse::Nftables(ruleset) => crate::nftables::simulate::decide(ruleset, sent),
        }
    }
}

/// Simulates connections from all addresses that rules may accept to the node's SSH and web interface. If `is_copy`, this is
/// another machine, and the local network is not known.
pub fn access(
    files: &Files<'_>,
    configuration: &Configuration,
    enforced: &RulesInUse,
    facts: &Facts,
    is_copy: bool,
    reports: &mut Vec<Report>,
) {
    if !configuration.cluster.options.is_enabled(facts.now) || !files.host.options.enable {
        return;
    }
    let rules = rules(files);
    let node = configuration.network.localnet.address;
    let management = management(files, node);
    let anywhere: [IpAddr; 2] = [ANYWHERE.0.into(), ANYWHERE.1.into()];
    let failsafe = facts.options.failsafe.0.iter().filter_map(|opening| opening.network).map(of_net);
    let known: Vec<IpAddr> = anywhere.into_iter().chain(management.iter().copied()).chain(failsafe).collect();
    let sources = || known.iter().copied().chain(rules.iter().flat_map(|rule| accepted(files, rule)));
    let interfaces: BTreeSet<&str> = interfaces(files, facts);
    for (port, what) in PORTS {
        let reaches = |source: IpAddr| {
            interfaces.iter().any(|interface| connect(enforced, node, source, interface, port).is_ok())
        };
        if sources().any(reaches) {
            continue;
        }
        if management.is_empty() && is_copy && !files.cluster.own_local_network {
            continue;
        }
        if management.is_empty() {
            reports.push(no_management(files, port, what));
            continue;
        }
        let by =
            management.iter().find_map(|source| connect(enforced, node, *source, DEFAULT_BRIDGE, port).err().flatten());
        let text = format!(
            "no address in the set management can access port {port} ({what}) of the node; add a rule that accepts \
             it from your own address before this one"
        );
        reports.push(match by {
            Some(Origin::Line(file, line)) => Report::warning(&file, line, text),
            by => {
                let blacklist = by.is_some_and(|by| by.to_string().contains(BLACKLIST));
                let set = files.cluster.definitions.sets.get(BLACKLIST).filter(|_| blacklist);
                Report::warning(&files.cluster.file, set.map_or(1, |set| set.line), text)
            }
        });
    }
}

/// The report that the set management contains no address of another machine.
fn no_management(files: &Files<'_>, port: u16, what: &str) -> Report {
    let cluster = files.cluster;
    let text = format!(
        "no other machine can reach port {port} ({what}) of the node: the set management contains only local_network, which \
         is {}; define the alias local_network, or add your network to [IPSET management]",
        cluster.local_network.text()
    );
    let set = cluster.definitions.sets.get("management").filter(|set| set.line > 0);
    Report::warning(&cluster.file, set.map_or(1, |set| set.line), text)
}

/// All rules of the host, including those of groups.
fn rules<'a>(files: &'a Files<'a>) -> Vec<&'a VerdictRule> {
    let groups = files.cluster.groups.values().flat_map(|group| &group.rules);
    let verdict = |rule: &'a Rule| match &rule.action {
        RuleAction::Verdict(verdict) => Some(verdict),
        RuleAction::Group(_) => None,
    };
    files.host.rules.iter().chain(&files.cluster.rules).chain(groups).filter_map(verdict).collect()
}

/// An address of each entry of the set `management`, except addresses of the node itself.
fn management(files: &Files<'_>, node: Option<IpAddr>) -> Vec<IpAddr> {
    let definitions = &files.cluster.definitions;
    let nets = definitions.sets.get("management").into_iter().flat_map(IpSet::networks);
    let other = |address: &IpAddr| !address.is_loopback() && Some(*address) != node;
    nets.chain([files.cluster.local_network.value]).map(|net| host_besides(net, node)).filter(other).collect()
}

/// Addresses that a rule may accept.
fn accepted(files: &Files<'_>, rule: &VerdictRule) -> Vec<IpAddr> {
    let VerdictRule { direction, verdict, source, dest: _, terms: _, log: _ } = rule;
    if *verdict != Verdict::Accept || *direction != Direction::In {
        return Vec::new();
    }
    match source {
        None => Vec::new(),
        Some(Address::Literal(Literal::Nets(nets))) => nets.value.iter().copied().map(of_net).collect(),
        Some(Address::Literal(Literal::Range(range))) => vec![range.value.0],
        Some(Address::Set(set)) if set.scope == SetScope::Cluster => {
            let set = files.cluster.definitions.sets.get(set.name.as_str());
            set.into_iter().flat_map(IpSet::networks).map(of_net).collect()
        }
        Some(Address::Set(_)) => Vec::new(),
    }
}

/// A host address in a network, different from the node's if possible.
fn host_besides(net: IpNet, node: Option<IpAddr>) -> IpAddr {
    net.hosts().find(|host| Some(*host) != node).unwrap_or(net.addr())
}

/// A host address in a network.
fn of_net(net: IpNet) -> IpAddr {
    net.hosts().next().unwrap_or(net.addr())
}

/// The interfaces named by rules of the host, and the default one.
fn interfaces<'a>(files: &'a Files<'a>, facts: &'a Facts) -> BTreeSet<&'a str> {
    let named = files.host.rules.iter().chain(&files.cluster.rules).filter_map(|rule| rule.iface.as_deref());
    let real = |name: &'a str| facts.altnames.get(name).map_or(name, String::as_str);
    named.map(real).chain([DEFAULT_BRIDGE]).collect()
}

/// Whether a connection to a port of the node is accepted; if not, the origin of the rule that refuses it.
fn connect(
    enforced: &RulesInUse,
    node: Option<IpAddr>,
    source: IpAddr,
    interface: &str,
    port: u16,
) -> Result<(), Option<Origin>> {
    let packet = Packet {
        source: Some(source),
        dest: node.filter(|node| node.is_ipv4() == source.is_ipv4()),
        sport: Some(40_000),
        dport: Some(port),
        ..Packet::new(Family::of(source), Packet::TCP)
    };
    let from = End::Port { bridge: interface.to_string(), port: interface.to_string() };
    let sent = Sent { packet: &packet, from, to: End::Host, broadcasts: &BTreeSet::new() };
    let Decided { verdict, origin } = enforced.decide(&sent);
    if verdict == Verdict::Accept { Ok(()) } else { Err(origin) }
}
