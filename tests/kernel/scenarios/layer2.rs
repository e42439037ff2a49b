//! Frames whose IP packets bypass iptables: VLAN and priority tags, QinQ, PPPoE, LLC and SNAP.
use super::scenario::{CLUSTER, GUEST100, GUEST200, Scenario, conf, wait_for};
use crate::host::saved_bridge;
use crate::testbed::Endpoint::Outside;
use crate::testbed::probe::{Encapsulation, Probe, ProbeResult};
use crate::testbed::{CT200, Endpoint, VM100, VM900};
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::ruleset::Family;

/// One of each kind.
pub(super) const ENCAPSULATIONS: [Encapsulation; 6] = [
    Encapsulation::Vlan(0),
    Encapsulation::Vlan(5),
    Encapsulation::Vlan(4095),
    Encapsulation::QinQ(5, 6),
    Encapsulation::Pppoe,
    Encapsulation::Snap,
];

const STRICT: &[&str] = &["--strict-layer2"];

/// Packets of different connections that iptables refuses, with these encapsulations.
fn probes<'a>(from: Endpoint, to: Endpoint, encapsulations: &'a [Encapsulation]) -> impl Iterator<Item = Probe> + 'a {
    let ports = (2000..).zip(encapsulations);
    ports.flat_map(move |(port, encapsulation)| {
        Family::ALL.map(|family| Probe::tcp(from, to, family, port).encapsulated(*encapsulation))
    })
}

/// No outgoing packets.
const CLOSED: &str = "[OPTIONS]\nenable: 1\npolicy_out: DROP\n";

#[test]
fn frames_that_bypass_iptables_are_dropped_with_strict_layer2() {
    let mut scenario = Scenario::new(&[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    for guest in [VM100, CT200] {
        for (from, to) in [(Outside, guest), (guest, Outside), (VM900, guest)] {
            scenario.check_all(ProbeResult::Dropped, probes(from, to, &[Encapsulation::Plain]));
            scenario.check_all(ProbeResult::Arrived, probes(from, to, &ENCAPSULATIONS));
        }
    }
    drop(scenario);
    let mut scenario = Scenario::with_options(STRICT, &[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    for guest in [VM100, CT200] {
        for (from, to) in [(Outside, guest), (guest, Outside), (VM900, guest)] {
            scenario.check_all(ProbeResult::Dropped, probes(from, to, &ENCAPSULATIONS));
        }
        // other protocols still pass, and IP is filtered by the rules
        scenario.check_all(ProbeResult::Arrived, [Probe::arp(guest, Outside), Probe::arp(Outside, guest)]);
    }
    scenario.check_all(ProbeResult::Arrived, probes(Outside, VM900, &ENCAPSULATIONS));
    // the frames are dropped, so there is no finding
    scenario.wait_until_healthy();
    scenario.change(&[(GUEST100, "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n")]);
    scenario.check_all(
        ProbeResult::Arrived,
        probes(Outside, VM100, &[Encapsulation::Plain]).chain(probes(VM100, Outside, &[Encapsulation::Plain])),
    );
    scenario.check_all(
        ProbeResult::Dropped,
        probes(Outside, VM100, &ENCAPSULATIONS).chain(probes(CT200, Outside, &ENCAPSULATIONS)),
    );
}

#[test]
fn trunks_and_named_protocols_pass_with_strict_layer2() {
    let (tags, others) = ENCAPSULATIONS.split_at(4);
    let mut scenario = Scenario::with_options(STRICT, &[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    let both = |encapsulations| {
        probes(VM100, Outside, encapsulations).chain(probes(Outside, VM100, encapsulations)).collect::<Vec<_>>()
    };
    // the guest's configuration makes the device a trunk
    let (path, text) = conf(100, false);
    scenario.change(&[(&path, &text.replace("firewall=1", "trunks=2;5-9,firewall=1"))]);
    wait_for("the rules of the trunk", || {
        (!saved_bridge(&scenario.testbed.node, Variant::Legacy).contains("tap100i0-IN -p 802_1Q")).then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, both(tags));
    scenario.check_all(ProbeResult::Dropped, both(others));
    scenario.check_all(ProbeResult::Dropped, probes(Outside, CT200, tags).chain(probes(CT200, Outside, tags)));
    // or layer2_protocols allows the protocols
    scenario.change(&[(&path, &text), (GUEST100, &format!("{CLOSED}layer2_protocols: IPv4,IPv6,ARP,802_1Q\n"))]);
    wait_for("the rules of the guest", || {
        saved_bridge(&scenario.testbed.node, Variant::Legacy).contains("tap100i0-OUT-PROTO -p 802_1Q").then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, both(&tags[..3]));
    scenario.check_all(ProbeResult::Dropped, both(others));
    scenario.change(&[(GUEST100, &format!("{CLOSED}layer2_protocols: IPv4,IPv6,ARP,PPP_SES\n"))]);
    scenario.check_all(ProbeResult::Arrived, both(&[Encapsulation::Pppoe]));
    scenario.check_all(ProbeResult::Dropped, both(tags));
    scenario.check_all(ProbeResult::Dropped, both(&[Encapsulation::Snap]));
}

#[test]
fn frames_that_bypass_iptables_are_reported() {
    // outside of this test, frames are captured during ten seconds of every five minutes
    let all_the_time = ["--full-reading", "1"];
    let mut scenario = Scenario::with_options(&all_the_time, &[(GUEST100, CLOSED), (GUEST200, CLOSED)]);
    scenario.check_all(ProbeResult::Arrived, [Probe::arp(VM100, Outside), Probe::arp(Outside, VM100)]);
    scenario.wait_until_healthy();
    let kinds = ["a VLAN tag", "a VLAN tag", "a VLAN tag", "a QinQ tag", "PPPoE", "LLC/SNAP"];
    for (encapsulation, kind) in ENCAPSULATIONS.into_iter().zip(kinds) {
        for (from, to, way) in [(Outside, VM100, "to"), (CT200, Outside, "from")] {
            let device = if way == "to" { "tap100i0" } else { "veth200i0" };
            scenario.check_all(ProbeResult::Arrived, probes(from, to, &[encapsulation]));
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
    // guests without firewall cause no finding
    scenario.check_all(ProbeResult::Arrived, probes(Outside, VM900, &ENCAPSULATIONS));
    // the remedy
    scenario.restart(&[STRICT, &all_the_time].concat());
    scenario.wait_until_healthy();
    scenario.check_all(
        ProbeResult::Dropped,
        probes(Outside, VM100, &ENCAPSULATIONS).chain(probes(CT200, Outside, &ENCAPSULATIONS)),
    );
    scenario.wait_for_full_cycle();
    scenario.wait_until_healthy();
    // without ebtables nothing drops them
    scenario.write(CLUSTER, "[OPTIONS]\nenable: 1\nebtables: 0\n");
    wait_for("the removal of ebtables rules", || {
        (!saved_bridge(&scenario.testbed.node, Variant::Legacy).contains("tap100i0-IN")).then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, probes(Outside, VM100, &[Encapsulation::Vlan(0)]));
    scenario.wait_for_warning("packets to tap100i0 in frames with a VLAN tag are not filtered");
    // for a trunk there is no finding
    let (path, text) = conf(100, false);
    scenario.write(&path, &text.replace("firewall=1", "trunks=5,firewall=1"));
    wait_for("the end of the warning about tags", || {
        let text = scenario.status(&[]).0;
        (!text.contains("to tap100i0 in frames with a VLAN tag") && text.contains("tap100i0 in frames with PPPoE"))
            .then_some(())
    });
}
