//! Suricata on the queue of a guest with `ips: 1`.
use super::scenario::{GUEST100, ON, Program, Scenario, tracking_backends, wait_for};
use crate::testbed::Endpoint::Outside;
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::ruleset::Family;
use pve_firewall::model::BackendKind;
use std::fs;
use std::path::PathBuf;

const GUEST: &str = "[OPTIONS]\nenable: 1\nips: 1\nips_queues: 0\n[RULES]\nIN ACCEPT -p udp -dport 9000:9001\n";
/// Port 9001 is accepted by the firewall and dropped by Suricata's signature; 9002 is dropped by the firewall.
const SIGNATURES: &str = r#"alert udp any any -> any 9000 (msg:"accepted"; sid:1; rev:1;)
drop udp any any -> any 9001 (msg:"unwanted"; content:"pvefwTAG"; sid:2; rev:1;)
alert udp any any -> any 9002 (msg:"refused"; sid:3; rev:1;)
"#;
const CONFIGURATION: &str = "%YAML 1.1
---
outputs:
  - fast: {enabled: yes, filename: fast.log, append: yes}
nfq: {mode: accept, fail-open: yes}
host-mode: sniffer-only
unix-command: {enabled: no}
stats: {enabled: no}
";

/// Suricata, and the file with its alerts.
fn suricata(scenario: &Scenario) -> (Program, PathBuf) {
    let directory = scenario.root().join("suricata");
    fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_string();
    fs::write(path("suricata.yaml"), CONFIGURATION).unwrap();
    fs::write(path("test.rules"), SIGNATURES).unwrap();
    let args = ["-c", &path("suricata.yaml"), "-S", &path("test.rules"), "-l", &path(""), "-q", "0"];
    let program = Program::start(&scenario.testbed.node, "suricata", &args);
    let queues = || scenario.testbed.node.run(|| fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue"));
    wait_for("Suricata on its queue", || queues().is_ok_and(|text| !text.is_empty()).then_some(()));
    (program, directory.join("fast.log"))
}

#[test]
fn suricata_inspects_accepted_packets() {
    tracking_backends().for_each(accepted_packets_are_inspected);
}

fn accepted_packets_are_inspected(kind: BackendKind) {
    let mut scenario = Scenario::with_backend(kind, &[(GUEST100, ON)]);
    scenario.write(GUEST100, GUEST);
    let mut number = 30_000;
    let mut udp = |port| {
        number += 1;
        Probe::udp(Outside, VM100, Family::V4, port).ports(number, port)
    };
    // without an IPS the queue is bypassed
    let text = "ips is 1, but no program reads queue 0: accepted packets pass without inspection";
    let warning = scenario.wait_for_warning(text);
    assert_eq!(
        (&warning["kind"], &warning["affected"]["guests"]),
        (&"not-inspected".into(), &serde_json::json!([100]))
    );
    assert_eq!(scenario.status(&["--exit-code"]).1, 1);
    scenario.check(&[
        (udp(9000), ProbeResult::Arrived),
        (udp(9001), ProbeResult::Arrived),
        (udp(9002), ProbeResult::Dropped),
    ]);
    let (program, alerts) = suricata(&scenario);
    scenario.wait_until_healthy();
    let read = || fs::read_to_string(&alerts).unwrap_or_default();
    wait_for("the first packet that Suricata passes", || {
        (scenario.count_arrivals(&[udp(9000)]) == 1 && read().contains("accepted")).then_some(())
    });
    let before = read().matches("accepted").count();
    scenario.check(&[
        (udp(9002), ProbeResult::Dropped),
        (udp(9001), ProbeResult::Dropped),
        (udp(9000), ProbeResult::Arrived),
    ]);
    wait_for("the alert", || (read().matches("accepted").count() > before).then_some(()));
    let alerts = read();
    assert!(alerts.contains("unwanted") && !alerts.contains("refused"), "{alerts}");
    program.stop();
    scenario.wait_for_warning(text);
    scenario.check(&[
        (udp(9000), ProbeResult::Arrived),
        (udp(9001), ProbeResult::Arrived),
        (udp(9002), ProbeResult::Dropped),
    ]);
    // a guest with several queues needs a reader of each
    scenario.write(GUEST100, &GUEST.replace("ips_queues: 0", "ips_queues: 0:2"));
    scenario.wait_for_warning("no program reads queues 0:2:");
    let (_program, _) = suricata(&scenario);
    scenario.wait_for_warning("no program reads queues 1:2:");
    scenario.change(&[(GUEST100, ON)]);
}
