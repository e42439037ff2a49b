//! Filters for guests' traffic regardless of rules: source addresses, DHCP, neighbour discovery, router advertisements.
use super::scenario::{CLUSTER, GUEST100, GUEST200, ON, Scenario};
use crate::testbed::Endpoint::Outside;
use crate::testbed::frame::BROADCAST;
use crate::testbed::probe::{Probe, ProbeResult};
use crate::testbed::{CT200, VM100, VM900};
use pve_firewall::iptables::ruleset::{Family, MacAddr};

const SPOOFED_MAC: MacAddr = MacAddr([0x02, 0x77, 0, 0, 0, 1]);
/// Policy DROP in both directions.
const CLOSED: &str = "[OPTIONS]\nenable: 1\npolicy_out: DROP\n";

fn closed(more: &str) -> String {
    format!("{CLOSED}{more}")
}

#[test]
fn packets_with_a_spoofed_mac_are_dropped() {
    let mut scenario = Scenario::new(&[(GUEST100, ON)]);
    let probes = |mac: Option<MacAddr>| {
        let probes = [
            Probe::tcp(VM100, Outside, Family::V4, 80),
            Probe::tcp(VM100, Outside, Family::V6, 80),
            Probe::icmpv6(VM100, Outside, 135),
            Probe::arp(VM100, Outside),
        ];
        probes.map(|probe| mac.map_or_else(|| probe.clone(), |mac| probe.clone().mac(mac)))
    };
    scenario.check_all(ProbeResult::Arrived, probes(None));
    scenario.check_all(ProbeResult::Dropped, probes(Some(SPOOFED_MAC)));
    scenario.change(&[(GUEST100, "[OPTIONS]\nenable: 1\nmacfilter: 0\n")]);
    scenario.check_all(ProbeResult::Arrived, probes(Some(SPOOFED_MAC)));
}

#[test]
fn packets_with_a_spoofed_address_are_dropped() {
    let mut scenario = Scenario::new(&[(GUEST200, ON)]);
    let v4 = |source| Probe::udp(CT200, Outside, Family::V4, 53).source(source);
    let v6 = |source| Probe::udp(CT200, Outside, Family::V6, 53).source(source);
    let own = "fe80::be24:11ff:fe00:c800";
    scenario.check_all(
        ProbeResult::Arrived,
        [v4("10.0.0.200"), v4("10.0.0.201"), v6(own), v6("fe80::1234"), v6("fd00::200")],
    );
    scenario.change(&[(GUEST200, "[OPTIONS]\nenable: 1\nipfilter: 1\n")]);
    scenario.check_all(ProbeResult::Arrived, [v4("10.0.0.200"), v6(own)]);
    scenario.check_all(ProbeResult::Dropped, [v4("10.0.0.201"), v4("10.0.0.100"), v6("fe80::1234"), v6("fd00::200")]);
}

#[test]
fn an_ipfilter_set_lists_the_allowed_addresses() {
    let guest = "[OPTIONS]\nenable: 1\n[IPSET ipfilter-net0]\n10.0.0.96/28\n!10.0.0.101\nfd00::100\n";
    let mut scenario = Scenario::new(&[(GUEST100, guest)]);
    let udp = |family, source| Probe::udp(VM100, Outside, family, 53).source(source);
    scenario.check(&[
        (udp(Family::V4, "10.0.0.100"), ProbeResult::Arrived),
        (udp(Family::V4, "10.0.0.97"), ProbeResult::Arrived),
        (udp(Family::V4, "10.0.0.101"), ProbeResult::Dropped),
        (udp(Family::V4, "10.0.0.113"), ProbeResult::Dropped),
        (udp(Family::V6, "fd00::100"), ProbeResult::Arrived),
        (udp(Family::V6, "fd00::101"), ProbeResult::Dropped),
        (udp(Family::V6, "fe80::be24:11ff:fe00:6400"), ProbeResult::Arrived),
        (udp(Family::V6, "fe80::1"), ProbeResult::Dropped),
    ]);
}

#[test]
fn spoofed_arp_is_dropped() {
    let arp = |source| Probe::arp(CT200, Outside).source(source);
    let mut scenario = Scenario::new(&[(GUEST200, ON)]);
    scenario.check_all(ProbeResult::Arrived, [arp("10.0.0.200"), arp("10.0.0.254")]);
    scenario.change(&[(GUEST200, "[OPTIONS]\nenable: 1\nipfilter: 1\n")]);
    scenario.check(&[
        (arp("10.0.0.200"), ProbeResult::Arrived),
        (arp("10.0.0.200").dest_mac(BROADCAST), ProbeResult::Arrived),
        (arp("10.0.0.254"), ProbeResult::Dropped),
        (arp("10.0.0.254").dest_mac(BROADCAST), ProbeResult::Dropped),
        (Probe::arp(VM900, CT200).source("10.0.0.254"), ProbeResult::Arrived),
    ]);
    scenario.change(&[(CLUSTER, "[OPTIONS]\nenable: 1\nebtables: 0\n")]);
    scenario.check_all(ProbeResult::Arrived, [arp("10.0.0.254")]);
}

#[test]
fn other_link_layer_protocols_pass_if_allowed() {
    let mut scenario = Scenario::new(&[(GUEST100, "[OPTIONS]\nenable: 1\nlayer2_protocols: IPX\n")]);
    scenario.check_all(ProbeResult::Dropped, [Probe::arp(VM100, Outside)]);
    scenario.change(&[(GUEST100, "[OPTIONS]\nenable: 1\nlayer2_protocols: IPX,ARP\n")]);
    scenario.check_all(ProbeResult::Arrived, [Probe::arp(VM100, Outside)]);
}

#[test]
fn dhcp_passes_unless_disabled() {
    let mut scenario = Scenario::new(&[(GUEST100, CLOSED)]);
    let probes = || {
        let discover = Probe::udp(VM100, Outside, Family::V4, 67).ports(68, 67);
        let offer = Probe::udp(Outside, VM100, Family::V4, 68).ports(67, 68);
        [
            discover.source("0.0.0.0").dest("255.255.255.255").dest_mac(BROADCAST),
            offer.dest("255.255.255.255").dest_mac(BROADCAST),
            Probe::udp(VM100, Outside, Family::V6, 547).ports(546, 547).dest("ff02::1:2"),
            Probe::udp(Outside, VM100, Family::V6, 546).ports(547, 546),
        ]
    };
    let server = || Probe::udp(VM100, Outside, Family::V4, 68).ports(67, 68);
    scenario.check_all(ProbeResult::Arrived, probes());
    scenario.check_all(ProbeResult::Dropped, [server()]);
    scenario.change(&[(GUEST100, &closed("dhcp: 0\n"))]);
    scenario.check_all(ProbeResult::Dropped, probes());
    scenario.change(&[(GUEST100, &closed("dhcp: 1\n"))]);
    scenario.check_all(ProbeResult::Arrived, probes());
}

#[test]
fn neighbour_discovery_passes_unless_disabled() {
    let mut scenario = Scenario::new(&[(GUEST100, CLOSED)]);
    let out = |kind| Probe::icmpv6(VM100, Outside, kind);
    let into = |kind| Probe::icmpv6(Outside, VM100, kind);
    scenario.check_all(ProbeResult::Arrived, [133, 135, 136].map(out));
    scenario.check_all(ProbeResult::Arrived, [133, 134, 135, 136].map(into));
    scenario.check_all(ProbeResult::Dropped, [128, 137].map(out));
    scenario.change(&[(GUEST100, &closed("ndp: 0\n"))]);
    scenario.check_all(ProbeResult::Dropped, [133, 135, 136].map(out));
    scenario.check_all(ProbeResult::Dropped, [133, 134, 135, 136].map(into));
}

#[test]
fn only_a_guest_with_radv_sends_router_advertisements() {
    let mut scenario = Scenario::new(&[(GUEST100, ON)]);
    let advertisement = || Probe::icmpv6(VM100, Outside, 134);
    scenario.check_all(ProbeResult::Dropped, [advertisement(), advertisement().dest("ff02::1")]);
    scenario.change(&[(GUEST100, &closed("radv: 1\n"))]);
    scenario.check_all(ProbeResult::Arrived, [advertisement(), advertisement().dest("ff02::1")]);
}
