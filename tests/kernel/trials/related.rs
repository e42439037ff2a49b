//! A data connection of FTP ends with its control connection.
use super::super::scenarios::ftp::{GUEST, server};
use super::super::scenarios::scenario::{GUEST100, HOST, ON, Scenario, wait_for};
use super::connections::{run, write};
use crate::wait::OutputInTime;
use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

#[test]
fn data_connections_are_simulated_and_deleted_with_their_control_connection() {
    let files = [(GUEST100, GUEST), (HOST, "[OPTIONS]\nnf_conntrack_helpers: ftp\n")];
    let scenario = Scenario::with_options(&["--cut-connections"], &files);
    scenario.testbed.assign_addresses();
    let _server = server(&scenario);
    fs::write(scenario.root().join("ftp/files/large"), vec![0; 16 << 20]).unwrap();
    let reached = || scenario.testbed.outside.command("curl").args(["--silent", "ftp://10.0.0.100/"]).output_in_time();
    wait_for("the server", || reached().status.success().then_some(()));
    scenario.testbed.node.exec("conntrack -F 2>/dev/null");
    let mut download = scenario.testbed.outside.command("curl");
    download.args(["--silent", "--limit-rate", "100k", "--speed-limit", "1", "--speed-time", "5"]);
    let download = download.arg("ftp://10.0.0.100/large").stdout(Stdio::null()).spawn().unwrap();
    let tracked = || {
        let listed = scenario.testbed.node.exec("conntrack -L -p tcp -d 10.0.0.100 2>/dev/null");
        let is_alive = |line: &&str| line.contains("ESTABLISHED");
        listed
            .lines()
            .filter(is_alive)
            .filter_map(|line| line.split_once("dport=")?.1.split(' ').next()?.parse().ok())
            .collect()
    };
    let ports: BTreeSet<u16> =
        wait_for("both connections", || Some(tracked()).filter(|ports: &BTreeSet<u16>| ports.len() == 2));
    assert!(ports.contains(&21), "{ports:?}");

    let named = |text: &str| -> BTreeSet<u16> {
        let output = run(&scenario, &["preview", "--json", &write(scenario.root(), GUEST100, text)]);
        let preview: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(preview["connections"]["not_judged"], serde_json::json!({}), "{preview:#}");
        let refused = preview["connections"]["refused"].as_array().unwrap();
        refused
            .iter()
            .map(|one| one["connection"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap())
            .collect()
    };
    // no rule of either text is for the port of the data connection
    assert_eq!(named(ON), ports);
    assert_eq!(named(&GUEST.replace("FTP(ACCEPT)", "ACCEPT -p tcp -dport 21")), BTreeSet::new());

    scenario.change(&[(GUEST100, ON)]);
    wait_for("the deletion of both connections", || tracked().is_disjoint(&ports).then_some(()));
    let log = scenario.log();
    let cut = |port: &u16| {
        log.iter().any(|line| line.contains(&format!("10.0.0.100:{port} of guest 100 is no longer allowed")))
    };
    assert!(ports.iter().all(cut), "{log:#?}");
    assert_eq!(download.output_in_time().status.code(), Some(28), "too slow: no data arrives");
}
