//! Findings about the daemon, the daemon of the other backend, and the other variant of the tools.
use super::super::scenario::{GUEST100, HOST, ON, Program, Scenario, wait_for};
use super::{FREQUENT_FULL_READINGS, V4};
use crate::nft_trees::has_bridge_conntrack;
use crate::node::copy_program;
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use nix::sys::signal::Signal;
use std::path::Path;

/// The program of the nftables backend, below the root directory of the node.
const NFTABLES: &str = "usr/libexec/proxmox/proxmox-firewall";

#[test]
fn rules_of_both_backends_or_of_neither_are_reported() {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    let table = "add table bridge proxmox-firewall-guests; add chain bridge proxmox-firewall-guests vm-out \
        { type filter hook prerouting priority 0; policy drop; }";
    scenario.check_all(ProbeResult::Arrived, [Probe::tcp(VM100, Outside, V4, 23)]);
    scenario.testbed.node.exec(&format!("nft '{table}'"));
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(VM100, Outside, V4, 23)]);
    let warning = scenario
        .wait_for_warning("the tables of the nftables backend are also in force: bridge proxmox-firewall-guests");
    assert_eq!((&warning["kind"], &warning["affected"]["node"]), (&"both-backends".into(), &true.into()));
    scenario.testbed.node.exec("nft delete table bridge proxmox-firewall-guests");
    scenario.wait_until_healthy();
    // selected and installed, but not running: this firewall continues to filter
    let program = scenario.root().join(NFTABLES);
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::copy("/bin/true", &program).unwrap();
    scenario.write(HOST, "[OPTIONS]\nnftables: 1\n");
    let warning =
        scenario.wait_for_warning("the tables of proxmox-firewall are not live: this firewall continues to filter");
    assert_eq!(warning["kind"], "backend-absent");
    assert_eq!(scenario.status(&["--exit-code"]).1, 1);
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
    std::fs::remove_file(program).unwrap();
    scenario.wait_until_healthy();
}

/// Waits until `status` has no warning, except that the kernel does not track connections in bridges.
fn wait_until_healthy_with_nftables(scenario: &Scenario) {
    wait_for("no warning", || {
        let status: serde_json::Value = serde_json::from_str(&scenario.status(&["--json"]).0).unwrap();
        let mut warnings = status["warnings"].as_array().unwrap().iter();
        warnings.all(|one| !has_bridge_conntrack() && one["kind"] == "no-bridge-conntrack").then_some(())
    });
}

/// The nftables daemon ends while nftables is selected: its tables stay live, or there are no rules.
#[test]
fn a_killed_daemon_of_the_selected_backend_is_reported() {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    let path = scenario.root().join(NFTABLES);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    copy_program(Path::new(env!("CARGO_BIN_EXE_proxmox-firewall")), &path);
    let root = scenario.root().to_str().unwrap().to_string();
    let start = |scenario: &Scenario| {
        Program::start(
            &scenario.testbed.node,
            path.to_str().unwrap(),
            &["start", "--root", &root, "--node", crate::testbed::NODE],
        )
    };
    let closed = |port| [Probe::tcp(Outside, Host, V4, port), Probe::tcp(Outside, VM100, V4, port)];
    scenario.write(HOST, "[OPTIONS]\nnftables: 1\n");
    scenario.wait_for_warning("the tables of proxmox-firewall are not live: this firewall continues to filter");
    scenario.check_all(ProbeResult::Dropped, closed(23));
    let daemon = start(&scenario);
    wait_for("only the tables of nftables", || {
        (!scenario.testbed.node.exec("iptables-legacy-save").contains("PVEFW")).then_some(())
    });
    wait_until_healthy_with_nftables(&scenario);
    scenario.check_all(ProbeResult::Dropped, closed(24));
    // killed: its rules stay live, and no change is applied
    daemon.kill();
    let warning = scenario.wait_for_warning("proxmox-firewall was killed: its rules filter");
    assert_eq!((&warning["kind"], &warning["affected"]["node"]), (&"backend-stopped".into(), &true.into()));
    scenario.write(GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 25:26\n");
    scenario.wait_for_full_cycle();
    scenario.check_all(ProbeResult::Dropped, closed(25));
    assert_eq!(scenario.status(&["--exit-code"]).1, 1);
    scenario.testbed.node.exec("nft 'delete table inet proxmox-firewall; delete table bridge proxmox-firewall-guests'");
    let warning = scenario.wait_for_warning("the tables of proxmox-firewall are not live: nothing is filtered");
    assert_eq!((&warning["kind"], &warning["severity"]), (&"backend-absent".into(), &"unfiltered".into()));
    assert_eq!(scenario.status(&["--exit-code"]).1, 2);
    scenario.check_all(ProbeResult::Arrived, closed(26));
    // the remedies: the daemon is started again, or iptables is selected
    let daemon = start(&scenario);
    wait_until_healthy_with_nftables(&scenario);
    scenario.check(&[
        (Probe::tcp(Outside, Host, V4, 25), ProbeResult::Dropped),
        (Probe::tcp(Outside, VM100, V4, 25), ProbeResult::Arrived),
    ]);
    daemon.kill();
    scenario.wait_for_warning("proxmox-firewall was killed: its rules filter");
    scenario.write(HOST, "[OPTIONS]\nnftables: 0\n");
    scenario.wait_for_warning("the tables of the nftables backend are also in force: inet proxmox-firewall");
    scenario.testbed.node.exec("nft 'delete table inet proxmox-firewall; delete table bridge proxmox-firewall-guests'");
    scenario.wait_until_healthy();
    scenario.check_all(ProbeResult::Dropped, closed(27));
}

/// The daemon removes such chains itself, unless the tools of that variant do not work.
#[test]
fn chains_that_remain_in_the_other_variant_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let tool = directory.path().join("iptables-nft-restore");
    std::fs::write(&tool, "#!/bin/sh\necho broken >&2; exit 1\n").unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let shell = format!("PATH={}:$PATH exec \"$@\"", directory.path().display());
    let host = "[OPTIONS]\n[RULES]\nIN ACCEPT -p icmp\n";
    let mut scenario = Scenario::with_shell(&shell, &FREQUENT_FULL_READINGS, &[(GUEST100, ON), (HOST, host)]);
    let answered = || Probe::icmp(Outside, Host, 8);
    scenario.check_all(ProbeResult::Arrived, [answered()]);
    scenario.testbed.node.exec("iptables-nft -N PVEFW-INPUT; iptables-nft -A PVEFW-INPUT -p icmp -j DROP; iptables-nft -A INPUT -j PVEFW-INPUT");
    scenario.check_all(ProbeResult::Dropped, [answered()]);
    let warning = scenario.wait_for_warning("chains of this firewall are also live in iptables-nft, and in force");
    assert_eq!(
        (&warning["kind"], &warning["affected"]["guests"]),
        (&"other-variant".into(), &serde_json::json!([100]))
    );
    std::fs::remove_file(tool).unwrap();
    scenario.wait_until_healthy();
    scenario.check_all(ProbeResult::Arrived, [answered()]);
}

/// A daemon that hangs applies no change.
#[test]
fn a_daemon_that_completes_no_cycle_is_reported() {
    let mut scenario = Scenario::new(&[(GUEST100, ON)]);
    let probe = || Probe::tcp(Outside, VM100, V4, 23);
    let file = scenario.root().join("run/pve-firewall/status.json");
    wait_for("the status of the first update", || file.exists().then_some(()));
    scenario.signal(Signal::SIGSTOP);
    scenario.write(GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 23\n");
    // as three minutes later
    let mut status: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    status["updated"] = (status["updated"].as_u64().unwrap() - 200).into();
    std::fs::write(&file, status.to_string()).unwrap();
    let warning = scenario.wait_for_warning("the daemon pve-firewall has completed no cycle");
    assert_eq!(warning["kind"], "daemon-stalled");
    scenario.check_all(ProbeResult::Dropped, [probe()]);
    scenario.signal(Signal::SIGCONT);
    scenario.wait_until_healthy();
    scenario.check_all(ProbeResult::Arrived, [probe()]);
}
