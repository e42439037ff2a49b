//! The chains for packets to and from the node itself.
use super::chain_builder::{Builder, Log, address, chain, generated, goto, jump, loopback, net, set, tcp, udp};
use super::chain_context::{ChainContext, Limited};
use super::failsafe_ports;
use super::rules::put;
use super::standard::{input_filter, policy};
use super::{Node, Shared, TablePart, real_interface};
use crate::model::{Direction, Family, OptionKey, Origin};
use crate::nftables::names::{
    ACCEPT_MANAGEMENT, ALLOW_ICMP, ALLOW_NDP_IN, ALLOW_NDP_OUT, BLOCK_NDP_IN, BLOCK_NDP_OUT, CHECK_BLACKLIST,
    CONNTRACK, FAILSAFE_IN, FAILSAFE_OUT, INPUT, OUTPUT, REJECT, SetOwner, cluster_chain, host_chain, set_name,
};
use crate::nftables::ruleset::{Action, Match, Side};
use crate::node::CorosyncLinks;

/// Ports that the set `management` may reach: the web interface, consoles, SPICE, SSH, migration.
const MANAGEMENT: [(u16, u16); 5] = [(8006, 8006), (5900, 5999), (3128, 3128), (22, 22), (60000, 60050)];
/// Ports of other hosts that the host may reach on the local network.
const LOCAL: [(u16, u16); 4] = [(8006, 8006), (22, 22), (5900, 5999), (3128, 3128)];
/// The ports of migration.
const MIGRATION: (u16, u16) = (60000, 60050);
/// Ports of corosync: one for each link of knet, and 5404 for older transports.
const COROSYNC: (u16, u16) = (5404, 5412);
const IGMP: u8 = 2;

/// The chains of the host.
pub fn make(node: &Node<'_>, shared: &Shared) -> TablePart {
    let mut part = TablePart::default();
    failsafe_ports::make(node, &mut part);
    input(node, shared, &mut part);
    output(node, &mut part);
    management(shared, &mut part);
    for direction in [Direction::In, Direction::Out] {
        let mut rules = Builder::new(host_chain(direction), &shared.limit);
        user_rules(node, shared, direction, &node.host.file, &node.host.rules, &mut part, &mut rules);
        rules.finish(&mut part);
        let mut rules = Builder::new(cluster_chain(direction), &shared.limit);
        user_rules(node, shared, direction, &node.cluster.file, &node.cluster.rules, &mut part, &mut rules);
        match direction {
            Direction::Out => local_network(node, &mut rules),
            _ => MANAGEMENT.iter().for_each(|(first, last)| {
                let origin = generated("default access of the set management");
                rules.rule([tcp(Side::Destination, *first, *last)], jump(ACCEPT_MANAGEMENT), &origin);
            }),
        }
        if let Some(corosync) = node.corosync {
            links(corosync, direction, &mut rules);
        }
        host_policy(node, direction, &mut rules);
        rules.finish(&mut part);
    }
    part
}

fn input(node: &Node<'_>, shared: &Shared, part: &mut TablePart) {
    let options = &node.host.options;
    let mut rules = Builder::base(INPUT, "input", 0);
    rules.rule([Match::InInterface(loopback())], Action::Accept, &generated("the host's loopback traffic"));
    failsafe_ports::jump_to(FAILSAFE_IN, node, &mut rules);
    if shared.blacklist {
        rules.rule([], jump(CHECK_BLACKLIST), &generated("set blacklist of cluster.fw"));
    }
    rules.rule([], jump(ALLOW_ICMP), &generated("ICMP errors"));
    rules.rule([], jump(CONNTRACK), &options.lines.origin(OptionKey::NfConntrackAllowInvalid));
    let ndp = if options.ndp { ALLOW_NDP_IN } else { BLOCK_NDP_IN };
    rules.rule([], jump(ndp), &options.lines.origin(OptionKey::Ndp));
    input_filter(node, &mut rules);
    rules.rule([Match::Protocol(IGMP)], Action::Accept, &generated("IGMP of the host"));
    rules.rule([], Action::Jump(host_chain(Direction::In)), &generated("the rules of host.fw"));
    rules.rule([], Action::Jump(cluster_chain(Direction::In)), &generated("the rules of cluster.fw"));
    rules.finish(part);
}

fn output(node: &Node<'_>, part: &mut TablePart) {
    let options = &node.host.options;
    let mut rules = Builder::base(OUTPUT, "output", 0);
    rules.rule([Match::OutInterface(loopback())], Action::Accept, &generated("the host's loopback traffic"));
    failsafe_ports::jump_to(FAILSAFE_OUT, node, &mut rules);
    rules.rule([], jump(ALLOW_ICMP), &generated("ICMP errors"));
    rules.rule([], jump(CONNTRACK), &options.lines.origin(OptionKey::NfConntrackAllowInvalid));
    let ndp = if options.ndp { ALLOW_NDP_OUT } else { BLOCK_NDP_OUT };
    rules.rule([], jump(ndp), &options.lines.origin(OptionKey::Ndp));
    rules.rule([Match::Protocol(IGMP)], Action::Accept, &generated("IGMP of the host"));
    rules.rule([], Action::Jump(host_chain(Direction::Out)), &generated("the rules of host.fw"));
    rules.rule([], Action::Jump(cluster_chain(Direction::Out)), &generated("the rules of cluster.fw"));
    rules.finish(part);
}

fn user_rules(
    node: &Node<'_>,
    shared: &Shared,
    direction: Direction,
    file: &std::sync::Arc<str>,
    section: &[crate::config::Rule],
    part: &mut TablePart,
    into: &mut Builder<'_>,
) {
    let context = ChainContext {
        file,
        direction,
        vmid: 0,
        accept: Action::Accept,
        reject: goto(REJECT),
        queues: None,
        guest_sets: None,
        interface: &|name| real_interface(name, node.altnames).map_or(Limited::Nothing, |name| Limited::To(Some(name))),
    };
    put(section, &context, shared, part, into);
}

/// Accepts packets from the set `management`.
fn management(shared: &Shared, part: &mut TablePart) {
    let origin = generated("set management of cluster.fw");
    let mut rules = Builder::new(chain(ACCEPT_MANAGEMENT), &shared.limit);
    let families = shared.sets.get(&super::sets::cluster_set("management"));
    for family in Family::ALL.into_iter().filter(|family| families.is_some_and(|families| families[*family])) {
        if let Some(name) = set_name(SetOwner::Cluster, "management", family) {
            rules.rule([set(Side::Source, family, name)], Action::Accept, &origin);
        }
    }
    part.uses.shared_sets.insert(super::sets::cluster_set("management"));
    rules.finish(part);
}

/// Accepts packets to ports of other hosts on the local network; those of migration only if the policy is not ACCEPT.
fn local_network(node: &Node<'_>, rules: &mut Builder<'_>) {
    let network = node.cluster.local_network.value;
    let migration = Some(MIGRATION).filter(|_| super::guest::is_restrictive(node.cluster.options.policy_out));
    for (first, last) in LOCAL.into_iter().chain(migration) {
        let origin = generated("default access to local_network");
        rules.rule([address(Side::Destination, network), tcp(Side::Destination, first, last)], Action::Accept, &origin);
    }
}

fn links(corosync: &CorosyncLinks, direction: Direction, rules: &mut Builder<'_>) {
    let origin: Origin = generated(crate::paths::COROSYNC);
    // a port can be configured for each link
    let own = corosync.ports.iter().filter(|port| !(COROSYNC.0..=COROSYNC.1).contains(*port));
    let all: Vec<(u16, u16)> = [COROSYNC].into_iter().chain(own.map(|port| (*port, *port))).collect();
    let ports = || all.iter().map(|(first, last)| udp(Side::Destination, *first, *last));
    if corosync.multicast {
        for groups in ["224.0.0.0/4", "ff00::/8"] {
            ports().for_each(|port| rules.rule([net(Side::Destination, groups), port], Action::Accept, &origin));
        }
    }
    for (mine, theirs) in &corosync.pairs {
        let (from, to) = if direction == Direction::Out { (mine, theirs) } else { (theirs, mine) };
        for port in ports() {
            rules.rule([address(Side::Source, *from), address(Side::Destination, *to), port], Action::Accept, &origin);
        }
    }
}

fn host_policy(node: &Node<'_>, direction: Direction, rules: &mut Builder<'_>) {
    let (cluster, host) = (&node.cluster.options, &node.host.options);
    let (verdict, key, level) = match direction {
        Direction::Out => (cluster.policy_out, OptionKey::PolicyOut, host.log_level_out),
        _ => (cluster.policy_in, OptionKey::PolicyIn, host.log_level_in),
    };
    let log = Log { vmid: 0, level, message: verdict.policy_message() };
    policy(verdict, Action::Accept, goto(REJECT), &log, &cluster.lines.origin(key), rules);
}
