//! SYN floods, smurfs, and invalid TCP flags.
use super::scenario::{CLUSTER, GUEST100, HOST, Scenario};
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::probe::{Probe, ProbeResult};
use crate::testbed::{VM100, VM101};
use pve_firewall::iptables::ruleset::{Family, TcpFlags};

const OPEN: &str = "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n";

#[test]
fn a_syn_flood_is_limited_for_its_sender_only() {
    let mut scenario = Scenario::new(&[(CLUSTER, OPEN), (HOST, "[OPTIONS]\nprotection_synflood: 0\n")]);
    let flood = |source: &str| -> Vec<_> {
        (0..300).map(|port| Probe::tcp(Outside, Host, Family::V4, 80).ports(20_000 + port, 80).source(source)).collect()
    };
    assert_eq!(scenario.count_arrivals(&flood("10.0.0.50")), 300);
    let protection = "[OPTIONS]\nprotection_synflood: 1\nprotection_synflood_rate: 5\nprotection_synflood_burst: 20\n";
    scenario.change(&[(HOST, protection)]);
    let arrived = scenario.count_arrivals(&flood("10.0.0.51"));
    // the burst, and the packets allowed by the rate during the flood
    assert!((20..100).contains(&arrived), "{arrived} of 300");
    assert!(scenario.count_arrivals(&flood("10.0.0.150")[..15]) == 15, "another sender has its own limit");
    // only packets that open connections count
    let others: Vec<_> =
        (0..50).map(|port| Probe::udp(Outside, Host, Family::V4, 80).ports(20_000 + port, 80)).collect();
    assert_eq!(scenario.count_arrivals(&others), 50);
}

#[test]
fn smurfs_are_dropped_unless_disabled() {
    let mut scenario = Scenario::new(&[(GUEST100, OPEN)]);
    let probes = || {
        ["10.0.0.255", "255.255.255.255", "224.1.2.3"]
            .map(|source| Probe::udp(Outside, VM100, Family::V4, 7).source(source))
    };
    scenario.check_all(ProbeResult::Dropped, probes());
    scenario.check_all(ProbeResult::Arrived, [Probe::udp(Outside, VM100, Family::V4, 7).source("0.0.0.0")]);
    scenario.change(&[(HOST, "[OPTIONS]\nnosmurfs: 0\n")]);
    scenario.check_all(ProbeResult::Arrived, probes());
}

#[test]
fn invalid_tcp_flags_are_dropped_if_enabled() {
    // without this option, connection tracking would drop all of them
    let host = |more: &str| format!("[OPTIONS]\nnf_conntrack_allow_invalid: 1\n{more}");
    let mut scenario = Scenario::new(&[(GUEST100, OPEN), (HOST, &host(""))]);
    let (fin, syn, rst) = (TcpFlags::FIN, TcpFlags::SYN, TcpFlags::RST);
    let xmas = fin.and(TcpFlags::PSH).and(TcpFlags::URG);
    let illegal = || {
        let probe = |port, flags| Probe::tcp(Outside, VM100, Family::V4, port).flags(flags);
        [
            probe(1, xmas),
            probe(2, TcpFlags::NONE),
            probe(3, syn.and(rst)),
            probe(4, syn.and(fin)),
            probe(5, syn).ports(0, 5),
        ]
    };
    let legal = || [Probe::tcp(VM101, VM100, Family::V4, 6), Probe::tcp(Outside, VM100, Family::V4, 7).flags(fin)];
    scenario.check_all(ProbeResult::Arrived, illegal());
    scenario.change(&[(HOST, &host("tcpflags: 1\n"))]);
    scenario.check_all(ProbeResult::Dropped, illegal());
    scenario.check_all(ProbeResult::Arrived, legal());
}
