//! The node's own traffic: default policies and their exceptions.
use super::scenario::{CLUSTER, HOST, ON, Scenario};
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::probe::{Probe, ProbeResult};
use crate::testbed::{VM100, VM100_NET1};
use pve_firewall::iptables::ruleset::{Family, RejectWith, TcpFlags};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const IGMP: u8 = 2;
/// A host in the local network, and one outside.
const LOCAL: &str = "10.0.0.50";
const REMOTE: &str = "203.0.113.5";

fn to_host(port: u16) -> Probe {
    Probe::tcp(Outside, Host, Family::V4, port)
}

#[test]
fn from_the_local_network_only_management_is_accepted() {
    let mut scenario = Scenario::new(&[]);
    let management = [8006, 5900, 5999, 3128, 22, 60_000, 60_050];
    scenario.check_all(ProbeResult::Arrived, management.map(|port| to_host(port).source(LOCAL)));
    scenario.check_all(ProbeResult::Dropped, management.map(|port| to_host(port).source(REMOTE)));
    scenario.check_all(
        ProbeResult::Dropped,
        [80, 111, 5899, 6000, 8005, 8007, 60_051].map(|port| to_host(port).source(LOCAL)),
    );
    scenario.check_all(
        ProbeResult::Dropped,
        management.map(|port| Probe::udp(Outside, Host, Family::V4, port).source(LOCAL)),
    );
    scenario.check_all(ProbeResult::Dropped, management.map(|port| Probe::tcp(Outside, Host, Family::V6, port)));
}

#[test]
fn the_set_management_allows_management_access() {
    let cluster = "[OPTIONS]\nenable: 1\n[IPSET management]\n203.0.113.5\n2001:db8::/32\n!2001:db8::6\n";
    let mut scenario = Scenario::new(&[(CLUSTER, cluster)]);
    let v6 = |source: &str| Probe::tcp(Outside, Host, Family::V6, 8006).source(source);
    scenario.check(&[
        (to_host(8006).source(REMOTE), ProbeResult::Arrived),
        (to_host(8006).source("203.0.113.6"), ProbeResult::Dropped),
        (to_host(8006).source(LOCAL), ProbeResult::Arrived),
        (to_host(80).source(REMOTE), ProbeResult::Dropped),
        (v6("2001:db8::5"), ProbeResult::Arrived),
        (v6("2001:db8::6"), ProbeResult::Dropped),
    ]);
}

#[test]
fn the_alias_local_network_can_be_overridden() {
    let cluster = "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 203.0.113.0/24\n";
    let mut scenario = Scenario::new(&[(CLUSTER, cluster)]);
    scenario.check(&[
        (to_host(22).source(REMOTE), ProbeResult::Arrived),
        (to_host(22).source(LOCAL), ProbeResult::Dropped),
    ]);
}

#[test]
fn igmp_and_icmp_errors_are_accepted() {
    let mut scenario = Scenario::new(&[]);
    scenario.check_all(ProbeResult::Arrived, [Probe::new(Outside, Host, Family::V4, IGMP).dest("224.0.0.1")]);
    let errors = |kind| Probe::icmp(Outside, Host, kind);
    // not related to a packet of the host
    scenario.check_all(ProbeResult::Dropped, [3, 4, 11].map(errors));
    for kind in [3, 4, 11] {
        // the packet quoted in the probes' ICMP errors
        scenario.check(&[(Probe::udp(Host, Outside, Family::V4, 61_001).ports(61_000, 61_001), ProbeResult::Arrived)]);
        scenario.check_next(errors(kind), ProbeResult::Arrived);
    }
    scenario.check_all(ProbeResult::Dropped, [errors(8)]);
}

#[test]
fn established_connections_and_loopback_pass_with_any_policies() {
    let cluster = "[OPTIONS]\nenable: 1\npolicy_out: DROP\n[RULES]\nOUT ACCEPT -p tcp -dport 443\n";
    let mut scenario = Scenario::new(&[(CLUSTER, cluster)]);
    let answer = || to_host(0).ports(443, 40_000).flags(TcpFlags::SYN.and(TcpFlags::ACK));
    scenario.check_all(ProbeResult::Dropped, [answer()]);
    scenario.check(&[(Probe::tcp(Host, Outside, Family::V4, 443), ProbeResult::Arrived)]);
    scenario.check_next(answer(), ProbeResult::Arrived);
    let received = scenario.testbed.node.run(|| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (mut peer, _) = server.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut received = [0; 5];
        peer.read_exact(&mut received).unwrap();
        received
    });
    assert_eq!(&received, b"hello");
}

#[test]
fn cluster_traffic_passes_with_output_policy_drop() {
    let mut scenario = Scenario::new(&[(CLUSTER, "[OPTIONS]\nenable: 1\npolicy_out: DROP\n")]);
    let out = |port| Probe::tcp(Host, Outside, Family::V4, port);
    scenario.check_all(ProbeResult::Arrived, [8006, 22, 5900, 5999, 3128].map(out));
    scenario.check_all(ProbeResult::Dropped, [80, 443, 8007].map(out));
    scenario.check_all(ProbeResult::Dropped, [8006, 22].map(|port| out(port).dest(REMOTE)));
    scenario.check_all(ProbeResult::Dropped, [8006, 22].map(|port| Probe::tcp(Host, VM100_NET1, Family::V4, port)));
    scenario.change(&[(CLUSTER, "[OPTIONS]\nenable: 1\npolicy_out: REJECT\n")]);
    scenario.check(&[
        (out(22), ProbeResult::Arrived),
        (out(80), ProbeResult::Rejected(RejectWith::TcpReset)),
        (Probe::udp(Host, Outside, Family::V6, 123), ProbeResult::Rejected(RejectWith::Icmp6PortUnreachable)),
    ]);
    scenario.change(&[(CLUSTER, ON)]);
    scenario.check_all(ProbeResult::Arrived, [80, 443, 8007].map(out));
}

#[test]
fn rejected_packets_get_a_reply() {
    let mut scenario = Scenario::new(&[(CLUSTER, "[OPTIONS]\nenable: 1\npolicy_in: REJECT\n")]);
    let gre = |family| Probe::new(Outside, Host, family, 47);
    scenario.check(&[
        (to_host(80), ProbeResult::Rejected(RejectWith::TcpReset)),
        (Probe::tcp(Outside, Host, Family::V6, 80), ProbeResult::Rejected(RejectWith::TcpReset)),
        (Probe::udp(Outside, Host, Family::V4, 80), ProbeResult::Rejected(RejectWith::IcmpPortUnreachable)),
        (Probe::udp(Outside, Host, Family::V6, 80), ProbeResult::Rejected(RejectWith::Icmp6PortUnreachable)),
        (gre(Family::V4), ProbeResult::Rejected(RejectWith::IcmpHostProhibited)),
        (gre(Family::V6), ProbeResult::Rejected(RejectWith::Icmp6AdmProhibited)),
        (Probe::icmp(Outside, Host, 8), ProbeResult::Dropped),
        (to_host(22), ProbeResult::Arrived),
    ]);
}

#[test]
fn corosync_is_accepted_from_the_other_nodes() {
    let corosync = "totem {\n  transport: udp\n}\nnodelist {\n  node {\n    name: n1\n    ring0_addr: 10.0.0.1\n  }\n  \
        node {\n    name: n2\n    ring0_addr: 10.0.0.50\n  }\n}\n";
    let mut scenario = Scenario::new(&[("corosync.conf", corosync)]);
    let udp = |port, source| Probe::udp(Outside, Host, Family::V4, port).source(source);
    scenario.check_all(ProbeResult::Arrived, [5404, 5405, 5412].map(|port| udp(port, LOCAL)));
    scenario.check_all(ProbeResult::Dropped, [5403, 5413].map(|port| udp(port, LOCAL)));
    scenario.check_all(ProbeResult::Dropped, [5405, 5412].map(|port| udp(port, "10.0.0.51")));
    // multicast from the cluster network, and from others
    scenario.check(&[
        (udp(5405, LOCAL).dest("224.0.0.1"), ProbeResult::Arrived),
        (udp(5400, LOCAL).dest("224.0.0.1"), ProbeResult::Dropped),
    ]);
    scenario.change(&[(CLUSTER, "[OPTIONS]\nenable: 1\npolicy_out: DROP\n")]);
    let out = |port| Probe::udp(Host, Outside, Family::V4, port);
    scenario
        .check(&[(out(5405).dest(LOCAL), ProbeResult::Arrived), (out(5405).dest("10.0.0.51"), ProbeResult::Dropped)]);
}

#[test]
fn rules_of_the_host_precede_those_of_the_cluster_and_match_interfaces() {
    let cluster = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\nIN ACCEPT -i vmbr1 -p tcp -dport 81\n";
    let host = "[RULES]\nIN DROP -p tcp -dport 80 -source 10.0.0.50\n";
    let mut scenario = Scenario::new(&[(CLUSTER, cluster), (HOST, host)]);
    scenario.check(&[
        (to_host(80), ProbeResult::Arrived),
        (to_host(80).source(LOCAL), ProbeResult::Dropped),
        (Probe::tcp(VM100_NET1, Host, Family::V4, 81), ProbeResult::Arrived),
        (Probe::tcp(VM100, Host, Family::V4, 81), ProbeResult::Dropped),
    ]);
    scenario.change(&[(HOST, "[OPTIONS]\nenable: 0\n")]);
    scenario.check_all(ProbeResult::Arrived, [80, 81, 9999].map(to_host));
}

#[test]
fn neighbour_and_router_discovery_pass_unless_ndp_is_disabled() {
    let mut scenario = Scenario::new(&[]);
    let kinds = [133, 134, 135, 136];
    scenario.check_all(
        ProbeResult::Arrived,
        kinds.map(|kind| Probe::icmpv6(Outside, Host, kind).source("fe80::50").dest("fe80::1")),
    );
    scenario.change(&[(HOST, "[OPTIONS]\nndp: 0\n")]);
    scenario.check_all(
        ProbeResult::Dropped,
        kinds.map(|kind| Probe::icmpv6(Outside, Host, kind).source("fe80::50").dest("fe80::1")),
    );
}
