//! Findings: for each one, a packet that passes or is dropped contrary to the rules, the finding, and that its remedy works.
mod bridges;
mod daemons;
mod nat;
mod rules;

use super::scenario::{GUEST100, ON, Scenario, wait_for};
use crate::host::shell;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::ruleset::{Family, MacAddr};

const V4: Family = Family::V4;
/// A MAC address that belongs to no guest.
const SPOOFED_MAC: MacAddr = MacAddr([0x02, 0x77, 0, 0, 0, 1]);

/// Commands of another program on a node with guest 100 enabled, and their effects.
struct Case {
    /// The commands of the other program.
    commands: &'static str,
    /// A packet, and its result with only the rules of this firewall.
    probe: fn() -> Probe,
    expected: ProbeResult,
    /// Its actual result while the commands are in effect.
    actual: ProbeResult,
    kind: &'static str,
    text: &'static str,
    node: bool,
    guests: &'static [u32],
    exit_code: i32,
    /// The commands of the remedy.
    remedy: &'static str,
}

/// Only a full reading finds a policy that another program has changed: the kernel does not report this change.
const FREQUENT_FULL_READINGS: [&str; 2] = ["--full-reading", "1"];

/// Runs the cases one after the other on a node.
fn check(cases: &[Case]) {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    for case in cases {
        scenario.check_all(case.expected, [(case.probe)()]);
        scenario.wait_until_healthy();
        scenario.testbed.node.exec(&shell(Variant::Legacy, case.commands));
        scenario.check_all(case.actual, [(case.probe)()]);
        let warning = scenario.wait_for_warning(case.text);
        assert_eq!(warning["kind"], case.kind, "{warning:#}");
        assert_eq!(warning["affected"]["node"], case.node, "{warning:#}");
        assert_eq!(warning["affected"]["guests"], serde_json::json!(case.guests), "{warning:#}");
        assert!(warning["since"].as_u64().unwrap() > 1_000_000_000, "{warning:#}");
        assert!(!warning["remedy"].as_str().unwrap().is_empty(), "{warning:#}");
        let (text, status) = scenario.status(&["--exit-code"]);
        assert!(text.starts_with("Status: enabled/running\nWARNING: ") && text.contains(case.text), "{text}");
        assert_eq!(status, case.exit_code, "{text}");
        scenario.testbed.node.exec(&shell(Variant::Legacy, case.remedy));
        scenario.wait_until_healthy();
        scenario.check_all(case.expected, [(case.probe)()]);
        wait_for("the log", || (scenario.logged(case.text) == 2).then_some(()));
        assert_eq!(scenario.logged(&format!("no longer: {}", warning["text"].as_str().unwrap())), 1);
    }
}

#[test]
fn readme_shows_what_status_prints_of_this_node() {
    let scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    scenario.wait_until_healthy();
    let (well, code) = scenario.status(&["--exit-code"]);
    let shown = format!("# pve-firewall status --exit-code; echo $?\n{well}{code}\n```");
    assert!(include_str!("../../../README.md").contains(&shown), "{shown}");
    scenario
        .testbed
        .node
        .exec("iptables-legacy -w -I INPUT -p tcp --dport 22:23 -j ACCEPT; ip link set tap100i0 master vmbr0");
    scenario.wait_for_warning("iptables filter");
    scenario.wait_for_warning("tap100i0");
    let (shown, readme) = (scenario.status(&[]).0, include_str!("../../../README.md"));
    assert!(readme.contains(&format!("# pve-firewall status\n{shown}```")), "{shown}");
    // without messages about single packets
    let answer = scenario.command(&["simulate", "--to", "vm100", "--dport", "23"]);
    assert!(answer.contains("the result on this node may be different: tap100i0 has firewall=1"), "{answer}");
    assert!(!answer.contains("-A INPUT"), "it does not concern the guest: {answer}");
    let answer = scenario.command(&["simulate", "--dport", "23"]);
    assert!(answer.contains("the result on this node may be different: a rule of another program"), "{answer}");
    let checked = scenario.command(&["check"]);
    assert!(checked.contains("the node does not filter packets as configured: tap100i0"), "{checked}");
}
