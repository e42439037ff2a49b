//! The host's chains: PVEFW-HOST-IN and PVEFW-HOST-OUT.
use super::FamilyCompiler;
use super::chain_builder::{Builder, Log, generated, jump};
use super::common_matches::{established, icmp_proto, icmp_type, invalid, port, proto, source_in, tcp, udp};
use super::rules::{ChainContext, RuleOwner};
use super::shared_config::{Node, SharedConfig};
use crate::iptables::names::{self, FixedChain};
use crate::iptables::ruleset::{AddrType, Match, Side, Target};
use crate::model::{Direction, Family, Interface, OptionKey, Origin, Spelled, Verdict};
use crate::paths;
use ipnet::IpNet;
use std::sync::{Arc, LazyLock};

/// Ports of migration.
const MIGRATION: (u16, u16) = (60000, 60050);
/// Ports that hosts of the set `management` may reach: the web interface, consoles, SPICE, SSH, migration.
const MANAGEMENT: [(u16, u16); 5] = [(8006, 8006), (5900, 5999), (3128, 3128), (22, 22), MIGRATION];
/// Ports of other hosts that the host may reach on the local network.
const LOCAL: [(u16, u16); 4] = [(8006, 8006), (22, 22), (5900, 5999), (3128, 3128)];
/// Ports of corosync: one for each link of knet, and 5404 for older transports.
const COROSYNC: (u16, u16) = (5404, 5412);

/// The ICMPv6 type of the messages that only routers send.
const ROUTER_ADVERTISEMENT: &str = "router-advertisement";
/// The matches for the ICMPv6 types of Neighbor Discovery (RFC 4861), by type.
static DISCOVERY: LazyLock<[(&str, [Match; 2]); 4]> = LazyLock::new(|| {
    ["router-solicitation", ROUTER_ADVERTISEMENT, "neighbor-solicitation", "neighbor-advertisement"]
        .map(|kind| (kind, [icmp_proto(Family::V6), icmp_type(Family::V6, kind)]))
});

impl FamilyCompiler<'_> {
    /// Builds both chains of the host, if its firewall is enabled.
    pub(super) fn host(&mut self, node: &Node<'_>) {
        if node.shared.host.options.enable {
            self.host_chain(node, Direction::In, names::HOST_IN);
            self.host_chain(node, Direction::Out, names::HOST_OUT);
        }
    }

    fn host_chain(&mut self, node: &Node<'_>, direction: Direction, name: FixedChain) {
        let shared = node.shared;
        let mut rules = self.chain(name);
        let loopback = Interface::new("lo").map(|lo| match direction {
            Direction::Out => Match::OutInterface(lo),
            _ => Match::InInterface(lo),
        });
        rules.plain(Vec::from_iter(loopback), Target::Accept, &generated("the host's loopback traffic"));
        conntrack_filter(&mut rules, !shared.host.options.nf_conntrack_allow_invalid);
        if shared.host.options.ndp {
            self.ndp(&mut rules, direction, false, &Target::Return, &shared.host.options.lines.origin(OptionKey::Ndp));
        }
        if direction == Direction::In {
            self.input_filter(shared, &mut rules);
        }
        rules.plain([proto("igmp", 2)], Target::Return, &generated("IGMP of the host"));
        for (file, section) in [(&shared.host.file, &shared.host.rules), (&shared.cluster.file, &shared.cluster.rules)]
        {
            let owner = RuleOwner::Host(node.altnames);
            let place =
                ChainContext { file, direction, vmid: 0, accept: Target::Return, group_accept: Target::Return, owner };
            self.user_rules(section, &place, &mut rules);
        }
        match direction {
            Direction::Out => self.local_network(shared, &mut rules),
            _ => self.management(&mut rules),
        }
        self.corosync(node, &mut rules, direction);
        self.host_policy(shared, &mut rules, direction);
        rules.finish(&mut self.buffers);
    }

    fn management(&self, rules: &mut Builder<'_>) {
        let set = names::set(0, "management", self.family);
        for (first, last) in MANAGEMENT {
            let origin = generated(format!("default access to port {first} for the set management"));
            let matches = vec![source_in(&set), tcp(), port(Side::Destination, first, last)];
            rules.plain(matches, Target::Return, &origin);
        }
    }

    fn local_network(&self, shared: &SharedConfig, rules: &mut Builder<'_>) {
        let network = &shared.cluster.local_network;
        if Family::of(network.value.addr()) != self.family {
            return;
        }
        let Some(network) = Spelled::new(network.text(), vec![network.value]).map(Arc::new) else { return };
        // with another policy migration to other nodes would not work
        let migration = Some(MIGRATION).filter(|_| shared.cluster.options.policy_out != Verdict::Accept);
        for (first, last) in LOCAL.into_iter().chain(migration) {
            let origin = generated(format!("default access to port {first} of local_network"));
            let to = Match::Address(Side::Destination, network.clone());
            rules.plain([to, tcp(), port(Side::Destination, first, last)], Target::Return, &origin);
        }
    }

    fn corosync(&self, node: &Node<'_>, rules: &mut Builder<'_>, direction: Direction) {
        let Some(corosync) = node.corosync else { return };
        let origin = generated(paths::COROSYNC);
        // a link may be given a port of its own
        let own = corosync.ports.iter().filter(|port| !(COROSYNC.0..=COROSYNC.1).contains(*port));
        let all: Vec<(u16, u16)> = [COROSYNC].into_iter().chain(own.map(|port| (*port, *port))).collect();
        let ports = |(first, last)| [udp(), port(Side::Destination, first, last)];
        if corosync.multicast {
            for range in &all {
                let [udp, ports] = ports(*range);
                let multicast = Match::AddrType(Side::Destination, AddrType::Multicast);
                rules.plain([multicast, udp, ports], Target::Return, &origin);
            }
        }
        for (mine, theirs) in corosync.pairs.iter().filter(|(mine, _)| Family::of(*mine) == self.family) {
            let address = |side, address: &std::net::IpAddr| {
                let nets = vec![IpNet::from(*address)];
                Spelled::new(&address.to_string(), nets).map(|nets| Match::Address(side, nets.into()))
            };
            let ends = match direction {
                Direction::Out => [address(Side::Source, mine), address(Side::Destination, theirs)],
                _ => [address(Side::Destination, mine), address(Side::Source, theirs)],
            };
            let ends: Vec<Match> = ends.into_iter().flatten().collect();
            for range in &all {
                let matches = ends.iter().cloned().chain(ports(*range));
                rules.plain(Vec::from_iter(matches), Target::Return, &origin);
            }
        }
    }

    fn host_policy(&self, shared: &SharedConfig, rules: &mut Builder<'_>, direction: Direction) {
        let (cluster, host) = (&shared.cluster.options, &shared.host.options);
        let (policy, key, level) = match direction {
            Direction::Out => (cluster.policy_out, OptionKey::PolicyOut, host.log_level_out),
            _ => (cluster.policy_in, OptionKey::PolicyIn, host.log_level_in),
        };
        let log = Log { vmid: 0, level, message: policy.policy_message() };
        self.policy(rules, policy, Target::Return, log, &cluster.lines.origin(key));
    }

    /// Adds the policy.
    pub(super) fn policy(&self, rules: &mut Builder<'_>, policy: Verdict, accept: Target, log: Log, origin: &Origin) {
        match policy {
            Verdict::Accept => rules.spec([], accept, origin),
            Verdict::Drop => {
                rules.plain([], jump(names::DROP), origin);
                rules.log(&[], log, origin);
                rules.plain([], Target::Drop, origin);
            }
            Verdict::Reject => {
                rules.plain([], jump(names::REJECT_POLICY), origin);
                rules.log(&[], log, origin);
                rules.plain([], Target::Goto(names::REJECT.into()), origin);
            }
        }
    }

    /// Adds the rules for IPv6 neighbour and router discovery.
    pub(super) fn ndp(
        &self,
        rules: &mut Builder<'_>,
        direction: Direction,
        radv: bool,
        target: &Target,
        origin: &Origin,
    ) {
        if self.family == Family::V4 {
            return;
        }
        for (kind, matches) in &*DISCOVERY {
            if *kind != ROUTER_ADVERTISEMENT || direction == Direction::In || radv {
                rules.plain(&matches[..], target.clone(), origin);
            }
        }
    }
}

/// Adds the rules that drop invalid packets and accept packets of established connections.
pub(super) fn conntrack_filter(rules: &mut Builder<'_>, drop_invalid: bool) {
    if drop_invalid {
        rules.refuse(0, [invalid()], Target::Drop, &generated("invalid connection state"));
    }
    rules.plain([established()], Target::Accept, &generated("established connections"));
}
