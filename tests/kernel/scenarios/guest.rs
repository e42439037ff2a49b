//! Guests: policies in both directions, devices, and traffic between guests.
use super::scenario::{CLUSTER, GUEST100, GUEST101, GUEST200, ON, Scenario};
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::probe::{Probe, ProbeResult};
use crate::testbed::{CT200, VM100, VM100_NET1, VM101, VM900};
use pve_firewall::iptables::ruleset::{Family, RejectWith};

const BOTH: [Family; 2] = Family::ALL;

#[test]
fn by_default_incoming_is_dropped_and_outgoing_accepted() {
    let mut scenario = Scenario::new(&[(GUEST100, ON), (GUEST200, ON)]);
    for guest in [VM100, CT200] {
        let to = |from, family| [Probe::tcp(from, guest, family, 22), Probe::udp(from, guest, family, 53)];
        scenario.check_all(ProbeResult::Dropped, BOTH.into_iter().flat_map(|family| to(Outside, family)));
        scenario.check_all(ProbeResult::Dropped, BOTH.into_iter().flat_map(|family| to(Host, family)));
        let from = |family| [Probe::tcp(guest, Outside, family, 22), Probe::udp(guest, Outside, family, 53)];
        scenario.check_all(ProbeResult::Arrived, BOTH.into_iter().flat_map(from));
        scenario.check_all(ProbeResult::Dropped, [Probe::icmp(Outside, guest, 8), Probe::icmpv6(Outside, guest, 128)]);
    }
}

#[test]
fn policies_are_set_by_options() {
    let options = |policy_in: &str, policy_out: &str| {
        format!(
            "[OPTIONS]\nenable: 1\npolicy_in: {policy_in}\npolicy_out: {policy_out}\n[RULES]\nOUT ACCEPT -p tcp -dport 80\n"
        )
    };
    let mut scenario = Scenario::new(&[(GUEST100, &options("ACCEPT", "DROP"))]);
    for family in BOTH {
        scenario.check(&[
            (Probe::tcp(Outside, VM100, family, 22), ProbeResult::Arrived),
            (Probe::tcp(VM100, Outside, family, 22), ProbeResult::Dropped),
            (Probe::tcp(VM100, Outside, family, 80), ProbeResult::Arrived),
        ]);
    }
    scenario.change(&[(GUEST100, &options("REJECT", "REJECT"))]);
    scenario.check(&[
        (Probe::tcp(Outside, VM100, Family::V4, 22), ProbeResult::Rejected(RejectWith::TcpReset)),
        (Probe::tcp(Outside, VM100, Family::V6, 22), ProbeResult::Rejected(RejectWith::TcpReset)),
        (Probe::udp(Outside, VM100, Family::V4, 22), ProbeResult::Rejected(RejectWith::IcmpPortUnreachable)),
        (Probe::udp(Outside, VM100, Family::V6, 22), ProbeResult::Rejected(RejectWith::Icmp6PortUnreachable)),
        (Probe::new(Outside, VM100, Family::V4, 47), ProbeResult::Rejected(RejectWith::IcmpHostProhibited)),
        (Probe::new(Outside, VM100, Family::V6, 47), ProbeResult::Rejected(RejectWith::Icmp6AdmProhibited)),
        (Probe::tcp(VM100, Outside, Family::V4, 22), ProbeResult::Rejected(RejectWith::TcpReset)),
        (Probe::tcp(VM100, Outside, Family::V6, 22), ProbeResult::Rejected(RejectWith::TcpReset)),
        (Probe::tcp(VM100, Outside, Family::V4, 80), ProbeResult::Arrived),
    ]);
}

#[test]
fn a_guest_without_firewall_is_not_filtered() {
    // 101 is disabled, 200 has no file, and 900 no firewalled device
    let off = "[OPTIONS]\nenable: 0\npolicy_out: DROP\n";
    let mut scenario = Scenario::new(&[(GUEST100, ON), (GUEST101, off), ("firewall/900.fw", ON)]);
    for guest in [VM101, CT200, VM900] {
        for family in BOTH {
            scenario.check_all(
                ProbeResult::Arrived,
                [Probe::tcp(Outside, guest, family, 22), Probe::udp(guest, Outside, family, 22)],
            );
        }
    }
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(VM900, VM100, Family::V4, 22)]);
}

#[test]
fn each_device_has_its_own_rules() {
    let guest = "[OPTIONS]\nenable: 1\npolicy_out: DROP\n[RULES]\nIN ACCEPT -i net0 -p tcp -dport 80\n\
        IN ACCEPT -i net1 -p tcp -dport 81\nIN ACCEPT -p tcp -dport 82\nOUT ACCEPT -i net1\n";
    let cluster = "[OPTIONS]\nenable: 1\n";
    let mut scenario = Scenario::new(&[(CLUSTER, cluster), (GUEST100, guest)]);
    let to = |device, port| Probe::tcp(Host, device, Family::V4, port);
    scenario.check(&[
        (to(VM100, 80), ProbeResult::Arrived),
        (to(VM100, 81), ProbeResult::Dropped),
        (to(VM100, 82), ProbeResult::Arrived),
        (to(VM100_NET1, 80), ProbeResult::Dropped),
        (to(VM100_NET1, 81), ProbeResult::Arrived),
        (to(VM100_NET1, 82), ProbeResult::Arrived),
        (Probe::tcp(VM100, Host, Family::V4, 8006), ProbeResult::Dropped),
        (Probe::tcp(VM100_NET1, Host, Family::V4, 8006).source("10.0.0.51"), ProbeResult::Arrived),
    ]);
}

#[test]
fn traffic_between_guests_passes_both_firewalls() {
    let sender =
        "[OPTIONS]\nenable: 1\npolicy_out: DROP\n[RULES]\nOUT ACCEPT -p tcp -dport 80\nOUT ACCEPT -p tcp -dport 81\n";
    let receiver = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\nIN ACCEPT -p tcp -dport 82\n\
        IN REJECT -p udp -dport 83\n";
    let mut scenario = Scenario::new(&[(GUEST100, sender), (GUEST101, receiver)]);
    for family in BOTH {
        let between = |port| Probe::tcp(VM100, VM101, family, port);
        scenario.check(&[
            (between(80), ProbeResult::Arrived),
            (between(81), ProbeResult::Dropped),
            (between(82), ProbeResult::Dropped),
            (Probe::tcp(CT200, VM101, family, 82), ProbeResult::Arrived),
            (Probe::tcp(VM101, VM900, family, 1), ProbeResult::Arrived),
        ]);
    }
    let unreachable = ProbeResult::Rejected(RejectWith::IcmpPortUnreachable);
    scenario
        .check_all(unreachable, [Probe::udp(CT200, VM101, Family::V4, 83), Probe::udp(VM900, VM101, Family::V4, 83)]);
}
