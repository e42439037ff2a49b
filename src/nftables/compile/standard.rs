//! The chains that every configuration has, in one table or both.
use super::chain_builder::{
    Builder, Log, chain, generated, goto, icmp, icmp_protocol, jump, known, net, set, tcp, udp,
};
use super::{Node, Shared, TablePart};
use crate::model::{Family, OptionKey, Origin, TcpFlags, Verdict};
use crate::nftables::names::{
    ALLOW_DHCP_IN, ALLOW_DHCP_OUT, ALLOW_ICMP, ALLOW_NDP_IN, ALLOW_NDP_OUT, ALLOW_RA_OUT, BEFORE_BRIDGE, BLACKLIST,
    BLOCK_DHCP_IN, BLOCK_DHCP_OUT, BLOCK_INVALID_TCP, BLOCK_NDP_IN, BLOCK_NDP_OUT, BLOCK_RA_OUT, BLOCK_SMURFS,
    CHECK_BLACKLIST, CONNTRACK, LOG_INVALID_TCP, LOG_SMURFS, POLICY_DROP, POLICY_REJECT, PRE_VM_IN, PRE_VM_OUT, REJECT,
    SetOwner, TableName, set_name,
};
use crate::nftables::ruleset::{Action, CtStates, Match, PacketType, Rejection, Side};

/// Neighbour discovery by ICMPv6 type: solicitations and advertisements of routers and neighbours, redirects.
pub const NDP_IN: [u8; 5] = [133, 134, 135, 136, 137];
/// The types that hosts send.
const NDP_OUT: [u8; 3] = [133, 135, 136];
/// The types that routers send.
const RA: [u8; 2] = [134, 137];
/// Multicast Listener Discovery: queries, and reports of both versions.
const MLD: [u8; 4] = [130, 131, 132, 143];
/// ICMP errors: destination unreachable, source quench, time exceeded.
const ERRORS_V4: [u8; 3] = [3, 4, 11];
/// ICMPv6 errors: destination unreachable, packet too big, time exceeded, parameter problem.
const ERRORS_V6: [u8; 4] = [1, 2, 3, 4];
const IGMP: u8 = 2;

/// The standard chains of the host's table.
pub fn host(node: &Node<'_>, shared: &Shared) -> TablePart {
    let mut part = TablePart::default();
    both(node, shared, TableName::Host, &mut part);
    part
}

/// The standard chains of the guests' table.
pub fn guests(node: &Node<'_>, shared: &Shared) -> TablePart {
    let mut part = TablePart::default();
    both(node, shared, TableName::Guests, &mut part);
    let origin = generated("the standard chains of guests");
    for (name, from, to, action) in [
        (ALLOW_DHCP_IN, [67, 547], [68, 546], Action::Accept),
        (BLOCK_DHCP_IN, [67, 547], [68, 546], Action::Drop),
        (ALLOW_DHCP_OUT, [68, 546], [67, 547], Action::Accept),
        (BLOCK_DHCP_OUT, [68, 546], [67, 547], Action::Drop),
    ] {
        let mut rules = Builder::own(name);
        for (from, to) in from.into_iter().zip(to) {
            rules.rule([udp(Side::Source, from, from), udp(Side::Destination, to, to)], action.clone(), &origin);
        }
        rules.finish(&mut part);
    }
    messages(ALLOW_RA_OUT, &RA, &Action::Accept, &mut part);
    messages(BLOCK_RA_OUT, &RA, &Action::Drop, &mut part);
    for name in [PRE_VM_IN, PRE_VM_OUT] {
        let mut rules = Builder::own(name);
        if name == PRE_VM_IN && shared.blacklist {
            rules.rule([], jump(CHECK_BLACKLIST), &generated("set blacklist of cluster.fw"));
        }
        rules.rule([], jump(ALLOW_ICMP), &origin);
        rules.rule([Match::Arp], Action::Accept, &origin);
        rules.rule([], jump(CONNTRACK), &origin);
        if name == PRE_VM_IN {
            input_filter(node, &mut rules);
        }
        rules.finish(&mut part);
    }
    part
}

/// Adds the rules that drop packets before all user rules: smurfs, invalid TCP flags.
pub fn input_filter(node: &Node<'_>, rules: &mut Builder<'_>) {
    let options = &node.host.options;
    if options.nosmurfs {
        let fresh = [Match::Family(Family::V4), Match::Ct(CtStates::NewOrInvalid)];
        rules.rule(fresh, jump(BLOCK_SMURFS), &options.lines.origin(OptionKey::Nosmurfs));
    }
    if options.tcpflags {
        rules.rule([Match::Protocol(6)], jump(BLOCK_INVALID_TCP), &options.lines.origin(OptionKey::Tcpflags));
    }
}

/// Adds the policy to a chain.
pub fn policy(verdict: Verdict, accept: Action, reject: Action, log: &Log, origin: &Origin, rules: &mut Builder<'_>) {
    let (before, action) = match verdict {
        Verdict::Accept => (None, accept),
        Verdict::Drop => (Some(POLICY_DROP), Action::Drop),
        // if no reply is possible, the packet is dropped
        Verdict::Reject if reject == Action::Drop => (Some(POLICY_DROP), reject),
        Verdict::Reject => (Some(POLICY_REJECT), reject),
    };
    if let Some(before) = before {
        rules.rule([], jump(before), origin);
    }
    rules.log(&[], log, origin);
    rules.rule([], action, origin);
}

fn both(node: &Node<'_>, shared: &Shared, table: TableName, part: &mut TablePart) {
    let origin = generated("ICMP errors");
    let mut rules = Builder::own(ALLOW_ICMP);
    ERRORS_V4.iter().for_each(|kind| rules.rule(icmp(Family::V4, *kind), Action::Accept, &origin));
    ERRORS_V6.iter().for_each(|kind| rules.rule(icmp(Family::V6, *kind), Action::Accept, &origin));
    rules.finish(part);

    let mut rules = Builder::own(CONNTRACK);
    rules.rule([known()], Action::Accept, &generated("established connections"));
    if !node.host.options.nf_conntrack_allow_invalid {
        rules.rule([Match::Ct(CtStates::Invalid)], Action::Drop, &generated("invalid connection state"));
    }
    rules.finish(part);

    messages(ALLOW_NDP_IN, &NDP_IN, &Action::Accept, part);
    messages(BLOCK_NDP_IN, &NDP_IN, &Action::Drop, part);
    messages(ALLOW_NDP_OUT, &NDP_OUT, &Action::Accept, part);
    messages(BLOCK_NDP_OUT, &NDP_OUT, &Action::Drop, part);
    before_bridge(part);
    reject(table, part);
    silent(table, Verdict::Drop, part);
    silent(table, Verdict::Reject, part);
    blacklist(node, shared, part);
    smurfs(node, shared, table, part);
    invalid_tcp(node, shared, part);
}

/// Builds a chain for ICMPv6 types.
fn messages(name: &'static str, kinds: &[u8], action: &Action, part: &mut TablePart) {
    let mut rules = Builder::own(name);
    let origin = generated("neighbour discovery");
    kinds.iter().for_each(|kind| rules.rule(icmp(Family::V6, *kind), action.clone(), &origin));
    rules.finish(part);
}

/// Builds the chain of packets that are accepted in each vnet: ARP and neighbour discovery, established connections.
fn before_bridge(part: &mut TablePart) {
    let origin = generated("the standard chains of vnets");
    let mut rules = Builder::own(BEFORE_BRIDGE);
    rules.rule([Match::Arp], Action::Accept, &origin);
    for kind in 133..=136 {
        rules.rule(icmp(Family::V6, kind), Action::Accept, &origin);
    }
    rules.rule([], jump(CONNTRACK), &origin);
    rules.finish(part);
}

/// The matches for broadcast and multicast packets.
fn to_groups(table: TableName) -> Vec<Vec<Match>> {
    let groups = ["224.0.0.0/4", "ff00::/8"].map(|groups| vec![net(Side::Destination, groups)]);
    let rest = match table {
        TableName::Host => vec![vec![Match::Broadcast(Side::Destination)], vec![Match::Anycast]],
        TableName::Guests => {
            [PacketType::Broadcast, PacketType::Multicast].map(|kind| vec![Match::PacketType(kind)]).into()
        }
    };
    rest.into_iter().chain(groups).collect()
}

/// Builds the chain that rejects packets; packets that must not be answered are dropped.
fn reject(table: TableName, part: &mut TablePart) {
    let origin = generated("replies to rejected packets");
    let mut rules = Builder::own(REJECT);
    match table {
        TableName::Host => rules.rule([Match::Broadcast(Side::Destination)], Action::Drop, &origin),
        TableName::Guests => {
            rules.rule([Match::PacketType(PacketType::Broadcast)], Action::Drop, &origin);
            rules.rule([Match::PacketType(PacketType::Multicast)], Action::Drop, &origin);
        }
    }
    rules.rule([net(Side::Source, "224.0.0.0/4")], Action::Drop, &origin);
    for family in Family::ALL {
        rules.rule([Match::Family(family), icmp_protocol(family)], Action::Drop, &origin);
    }
    rules.rule([Match::Protocol(6)], Action::Reject(Rejection::TcpReset), &origin);
    for family in Family::ALL {
        let udp = [Match::Family(family), Match::Protocol(17)];
        rules.rule(udp, Action::Reject(Rejection::PortUnreachable(family)), &origin);
    }
    for family in Family::ALL {
        rules.rule([Match::Family(family)], Action::Reject(Rejection::Prohibited(family)), &origin);
    }
    rules.rule([], Action::Drop, &origin);
    rules.finish(part);
}

/// Builds the standard chain of policy DROP or REJECT: packets that are refused without logging, and some that are accepted.
fn silent(table: TableName, policy: Verdict, part: &mut TablePart) {
    let (name, refuse) = match policy {
        Verdict::Reject => (POLICY_REJECT, goto(REJECT)),
        _ => (POLICY_DROP, Action::Drop),
    };
    let origin = generated("packets that the policy handles without logging");
    let mut rules = Builder::own(name);
    rules.rule([tcp(Side::Destination, 43, 43)], refuse.clone(), &origin);
    rules.rule([net(Side::Destination, "224.0.0.0/4"), Match::Protocol(IGMP)], Action::Accept, &origin);
    for kind in MLD {
        let [_, protocol, message] = icmp(Family::V6, kind);
        rules.rule([net(Side::Destination, "ff00::/8"), protocol, message], Action::Accept, &origin);
    }
    for matches in to_groups(table) {
        rules.rule(matches, Action::Drop, &origin);
    }
    rules.rule([Match::Ct(CtStates::Invalid)], Action::Drop, &origin);
    for (first, last) in [(135, 135), (137, 139), (445, 445)] {
        rules.rule([udp(Side::Destination, first, last)], refuse.clone(), &origin);
    }
    rules.rule([udp(Side::Source, 137, 137), udp(Side::Destination, 1024, 65535)], refuse.clone(), &origin);
    for port in [135, 139, 445] {
        rules.rule([tcp(Side::Destination, port, port)], refuse.clone(), &origin);
    }
    rules.rule([udp(Side::Destination, 1900, 1900)], Action::Drop, &origin);
    rules.rule([Match::TcpFlags { negated: true, mask: opening(), set: TcpFlags::SYN }], Action::Drop, &origin);
    rules.rule([udp(Side::Source, 53, 53)], Action::Drop, &origin);
    rules.finish(part);
}

fn opening() -> TcpFlags {
    TcpFlags::FIN.and(TcpFlags::SYN).and(TcpFlags::RST).and(TcpFlags::ACK)
}

fn blacklist(node: &Node<'_>, shared: &Shared, part: &mut TablePart) {
    if !shared.blacklist {
        return;
    }
    let origin = generated("set blacklist of cluster.fw");
    let mut rules = Builder::own(CHECK_BLACKLIST);
    for family in Family::ALL
        .into_iter()
        .filter(|family| shared.sets.get(&super::sets::cluster_set("blacklist")).is_some_and(|has| has[*family]))
    {
        if let Some(name) = set_name(SetOwner::Cluster, "blacklist", family) {
            rules.rule([set(Side::Source, family, name)], goto(BLACKLIST), &origin);
        }
    }
    rules.finish(part);
    part.uses.shared_sets.insert(super::sets::cluster_set("blacklist"));
    logged_drop(BLACKLIST, node.host.options.log_level_out, &origin, shared, part);
}

fn smurfs(node: &Node<'_>, shared: &Shared, table: TableName, part: &mut TablePart) {
    let origin = generated("packets from broadcast addresses");
    let mut rules = Builder::own(BLOCK_SMURFS);
    rules.rule([net(Side::Source, "0.0.0.0/32")], Action::Return, &origin);
    let broadcast = match table {
        TableName::Host => Match::Broadcast(Side::Source),
        TableName::Guests => net(Side::Source, "255.255.255.255/32"),
    };
    rules.rule([broadcast], goto(LOG_SMURFS), &origin);
    rules.rule([net(Side::Source, "224.0.0.0/4")], goto(LOG_SMURFS), &origin);
    rules.finish(part);
    logged_drop(LOG_SMURFS, node.host.options.smurf_log_level, &origin, shared, part);
}

fn invalid_tcp(node: &Node<'_>, shared: &Shared, part: &mut TablePart) {
    let origin = generated("illegal TCP flags");
    let mut rules = Builder::own(BLOCK_INVALID_TCP);
    let all = opening().and(TcpFlags::PSH).and(TcpFlags::URG);
    let (fin, syn, rst) = (TcpFlags::FIN, TcpFlags::SYN, TcpFlags::RST);
    let flags = |mask, set| Match::TcpFlags { negated: false, mask, set };
    for one in [
        flags(all, fin.and(TcpFlags::PSH).and(TcpFlags::URG)),
        flags(all, TcpFlags::NONE),
        flags(syn.and(rst), syn.and(rst)),
        flags(fin.and(syn), fin.and(syn)),
    ] {
        rules.rule([one], goto(LOG_INVALID_TCP), &origin);
    }
    rules.rule([tcp(Side::Source, 0, 0), flags(opening(), syn)], goto(LOG_INVALID_TCP), &origin);
    rules.finish(part);
    logged_drop(LOG_INVALID_TCP, node.host.options.tcp_flags_log_level, &origin, shared, part);
}

fn logged_drop(name: &'static str, level: Option<u8>, origin: &Origin, shared: &Shared, part: &mut TablePart) {
    let mut rules = Builder::new(chain(name), &shared.limit);
    rules.log(&[], &Log { vmid: 0, level, message: Verdict::Drop.message() }, origin);
    rules.rule([], Action::Drop, origin);
    rules.finish(part);
}
