//! Frames that carry IP packets past iptables: VLAN and priority tags, QinQ, PPPoE, LLC and SNAP.
use super::scenario::{CLUSTER, GUEST100, GUEST200, Scenario, conf, wait_for};
use crate::host::saved_bridge;
use crate::testbed::Endpoint::Outside;
use crate::testbed::probe::{Carrier, Probe, ProbeResult};
use crate::testbed::{CT200, Endpoint, VM100, VM900};
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::ruleset::Family;

const CARRIERS: [Carrier; 6] =
    [Carrier::Vlan(0), Carrier::Vlan(5), Carrier::Vlan(4095), Carrier::QinQ(5, 6), Carrier::Pppoe, Carrier::Snap];

const STRICT: &[&str] = &["--strict-layer2"];

/// Packets that iptables refuses, in frames of these kinds, each of a connection of its own.
fn probes<'a>(from: Endpoint, to: Endpoint, carriers: &'a [Carrier]) -> impl Iterator<Item = Probe> + 'a {
    let ports = (2000..).zip(carriers);
    ports
        .flat_map(move |(port, carrier)| Family::ALL.map(|family| Probe::tcp(from, to, family, port).carried(*carrier)))
}

/// No outgoing packets.
const CLOSED: &str = "[OPTIONS]\nenable: 1\npolicy_out: DROP\n";

#[test]
fn frames_that_carry_packets_past_iptables_are_dropped_with_strict_layer2() {
    let mut scenario = Scenario::new(&[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    for guest in [VM100, CT200] {
        for (from, to) in [(Outside, guest), (guest, Outside), (VM900, guest)] {
            scenario.check_all(ProbeResult::Dropped, probes(from, to, &[Carrier::Plain]));
            scenario.check_all(ProbeResult::Arrived, probes(from, to, &CARRIERS));
        }
    }
    drop(scenario);
    let mut scenario = Scenario::with_options(STRICT, &[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    for guest in [VM100, CT200] {
        for (from, to) in [(Outside, guest), (guest, Outside), (VM900, guest)] {
            scenario.check_all(ProbeResult::Dropped, probes(from, to, &CARRIERS));
        }
        // other protocols pass as before, and IP is filtered by the rules
        scenario.check_all(ProbeResult::Arrived, [Probe::arp(guest, Outside), Probe::arp(Outside, guest)]);
    }
    scenario.check_all(ProbeResult::Arrived, probes(Outside, VM900, &CARRIERS));
    // they are dropped, so nothing is found
    scenario.wait_until_healthy();
    scenario.change(&[(GUEST100, "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n")]);
    scenario.check_all(
        ProbeResult::Arrived,
        probes(Outside, VM100, &[Carrier::Plain]).chain(probes(VM100, Outside, &[Carrier::Plain])),
    );
    scenario
        .check_all(ProbeResult::Dropped, probes(Outside, VM100, &CARRIERS).chain(probes(CT200, Outside, &CARRIERS)));
}

#[test]
fn trunks_and_named_protocols_pass_with_strict_layer2() {
    let (tags, others) = CARRIERS.split_at(4);
    let mut scenario = Scenario::with_options(STRICT, &[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    let both = |carriers| probes(VM100, Outside, carriers).chain(probes(Outside, VM100, carriers)).collect::<Vec<_>>();
    // the guest's own configuration says that it is a trunk
    let (path, text) = conf(100, false);
    scenario.change(&[(&path, &text.replace("firewall=1", "trunks=2;5-9,firewall=1"))]);
    wait_for("the rules of the trunk", || {
        (!saved_bridge(&scenario.testbed.node, Variant::Legacy).contains("tap100i0-IN -p 802_1Q")).then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, both(tags));
    scenario.check_all(ProbeResult::Dropped, both(others));
    scenario.check_all(ProbeResult::Dropped, probes(Outside, CT200, tags).chain(probes(CT200, Outside, tags)));
    // or layer2_protocols names what it may use
    scenario.change(&[(&path, &text), (GUEST100, &format!("{CLOSED}layer2_protocols: IPv4,IPv6,ARP,802_1Q\n"))]);
    wait_for("the rules of the guest", || {
        saved_bridge(&scenario.testbed.node, Variant::Legacy).contains("tap100i0-OUT-PROTO -p 802_1Q").then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, both(&tags[..3]));
    scenario.check_all(ProbeResult::Dropped, both(others));
    scenario.change(&[(GUEST100, &format!("{CLOSED}layer2_protocols: IPv4,IPv6,ARP,PPP_SES\n"))]);
    scenario.check_all(ProbeResult::Arrived, both(&[Carrier::Pppoe]));
    scenario.check_all(ProbeResult::Dropped, both(tags));
    scenario.check_all(ProbeResult::Dropped, both(&[Carrier::Snap]));
}

#[test]
fn frames_that_carry_packets_past_iptables_are_reported() {
    // outside of this test, frames are captured during ten seconds of every five minutes
    let all_the_time = ["--full-reading", "1"];
    let mut scenario = Scenario::with_options(&all_the_time, &[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    scenario.check_all(ProbeResult::Arrived, [Probe::arp(VM100, Outside), Probe::arp(Outside, VM100)]);
    scenario.wait_until_healthy();
    let kinds = ["a VLAN tag", "a VLAN tag", "a VLAN tag", "a QinQ tag", "PPPoE", "LLC/SNAP"];
    for (carrier, kind) in CARRIERS.into_iter().zip(kinds) {
        for (from, to, way) in [(Outside, VM100, "to"), (CT200, Outside, "from")] {
            let device = if way == "to" { "tap100i0" } else { "veth200i0" };
            scenario.check_all(ProbeResult::Arrived, probes(from, to, &[carrier]));
            let warning =
                scenario.wait_for_warning(&format!("packets {way} {device} in frames with {kind} are not filtered"));
            let vmid = if way == "to" { 100 } else { 200 };
            assert_eq!(
                (&warning["kind"], &warning["affected"]["guests"]),
                (&"carried-past".into(), &serde_json::json!([vmid]))
            );
            assert!(
                warning["remedy"].as_str().unwrap().starts_with("add --strict-layer2 to START_OPTIONS"),
                "{warning:#}"
            );
        }
    }
    assert_eq!(scenario.status(&["--exit-code"]).1, 1);
    // guests without a firewall have none
    scenario.check_all(ProbeResult::Arrived, probes(Outside, VM900, &CARRIERS));
    // the remedy
    scenario.restart(&[STRICT, &all_the_time].concat());
    scenario.wait_until_healthy();
    scenario
        .check_all(ProbeResult::Dropped, probes(Outside, VM100, &CARRIERS).chain(probes(CT200, Outside, &CARRIERS)));
    scenario.wait_for_full_cycle();
    scenario.wait_until_healthy();
    // without ebtables nothing drops them
    scenario.write(CLUSTER, "[OPTIONS]\nenable: 1\nebtables: 0\n");
    wait_for("no rules of ebtables", || {
        (!saved_bridge(&scenario.testbed.node, Variant::Legacy).contains("tap100i0-IN")).then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, probes(Outside, VM100, &[Carrier::Vlan(0)]));
    scenario.wait_for_warning("packets to tap100i0 in frames with a VLAN tag are not filtered");
    // for a trunk there is no finding
    let (path, text) = conf(100, false);
    scenario.write(&path, &text.replace("firewall=1", "trunks=5,firewall=1"));
    wait_for("no warning of tags", || {
        let text = scenario.status(&[]).0;
        (!text.contains("to tap100i0 in frames with a VLAN tag") && text.contains("tap100i0 in frames with PPPoE"))
            .then_some(())
    });
}
