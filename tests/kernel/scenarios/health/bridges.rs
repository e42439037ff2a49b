//! Packets of guests that bypass the rules because of devices, kernel settings or modules.
use super::super::scenario::{GUEST100, ON, Scenario, wait_for};
use super::{Case, V4, check};
use crate::testbed::Endpoint::Outside;
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::ruleset::Family;

const BYPASSING_DEVICES: &[Case] = &[Case {
    commands: "ip link set tap100i0 master vmbr0; bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static",
    probe: || Probe::tcp(Outside, VM100, V4, 23),
    expected: ProbeResult::Dropped,
    actual: ProbeResult::Arrived,
    kind: "not-on-firewall-bridge",
    text: "tap100i0 has firewall=1 but is a port of vmbr0 and not of fwbr100i0",
    node: false,
    guests: &[100],
    exit_code: 2,
    remedy: "ip link set tap100i0 master fwbr100i0; bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static
            bridge fdb replace bc:24:11:00:64:00 dev fwpr100p0 master static",
}];

#[test]
fn devices_that_bypass_the_rules_are_reported_and_filtered_after_the_remedy() {
    check(BYPASSING_DEVICES);
}

#[test]
fn bridge_filtering_that_is_switched_off_is_on_again_within_a_second() {
    let mut scenario = Scenario::new(&[(GUEST100, ON)]);
    for (setting, family) in [("iptables", V4), ("ip6tables", Family::V6)] {
        scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, family, 23)]);
        let begun = std::time::Instant::now();
        let setting = format!("bridge-nf-call-{setting}");
        scenario.testbed.node.exec(&format!("sysctl -qw net.bridge.{setting}=0"));
        wait_for("the setting", || {
            let now = scenario.testbed.node.exec(&format!("cat /proc/sys/net/bridge/{setting}"));
            (now == "1\n").then_some(())
        });
        assert!(begun.elapsed() < std::time::Duration::from_millis(2500), "{:?}", begun.elapsed());
        scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, family, 24)]);
        assert_eq!(scenario.logged(&format!("{setting} was 0, set to 1")), 1, "{:#?}", scenario.log());
    }
    // a write through another instance of procfs causes no event
    let setting = "net.bridge.bridge-nf-call-iptables";
    scenario.testbed.node.exec(&format!("unshare -m sh -c 'mount -t proc proc /proc && sysctl -qw {setting}=0'"));
    wait_for("the setting", || (scenario.testbed.node.exec(&format!("sysctl -n {setting}")) == "1\n").then_some(()));
    scenario.wait_until_healthy();
}

#[test]
fn bridge_filtering_that_cannot_be_switched_on_is_reported() {
    let mut scenario = Scenario::with_read_only_sysctls(&[(GUEST100, ON)]);
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
    scenario.testbed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
    scenario.check_all(ProbeResult::Arrived, [Probe::tcp(Outside, VM100, V4, 23)]);
    let text = "guests are not filtered by iptables: net.bridge.bridge-nf-call-iptables is 0 and cannot be set";
    let warning = scenario.wait_for_warning(text);
    assert_eq!(warning["kind"], "bridge-filtering-off");
    assert_eq!(scenario.status(&["--exit-code"]).1, 2);
    let verbose = scenario.status(&["--verbose"]).0;
    assert!(verbose.contains(&format!("WARNING: {text} (guest 100)\n  since: ")), "{verbose}");
    assert!(verbose.contains("  remedy: 'sysctl -w net.bridge.bridge-nf-call-iptables=1'"), "{verbose}");
    scenario.testbed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=1");
    scenario.wait_until_healthy();
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
}

#[test]
fn a_kernel_without_br_netfilter_is_reported() {
    let hidden = "mount -t tmpfs none /proc/sys/net/bridge && exec \"$@\"";
    let mut scenario =
        Scenario::without_waiting(&format!("exec unshare -m sh -c '{hidden}' sh \"$@\""), &[(GUEST100, ON)]);
    // as without the module
    scenario.testbed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0");
    for (family, tool) in [(V4, "iptables"), (Family::V6, "ip6tables")] {
        scenario.check_all(ProbeResult::Arrived, [Probe::tcp(Outside, VM100, family, 23)]);
        let warning = scenario.wait_for_warning(&format!("the kernel has no net.bridge.bridge-nf-call-{tool}"));
        assert_eq!((&warning["kind"], &warning["severity"]), (&"bridge-filtering-off".into(), &"unfiltered".into()));
        assert!(warning["remedy"].as_str().unwrap().contains("modprobe br_netfilter"), "{warning:#}");
    }
    assert_eq!(scenario.status(&["--exit-code"]).1, 2);
    scenario.exec_in_daemon_namespace("umount /proc/sys/net/bridge");
    scenario.wait_until_healthy();
    scenario.check_all(ProbeResult::Dropped, Family::ALL.map(|family| Probe::tcp(Outside, VM100, family, 24)));
}

#[test]
fn a_kernel_without_physdev_is_reported() {
    // the tool refuses the match, as without the kernel's module
    let refuses = "#!/bin/sh\nrules=$(cat)\nline=$(printf '%s\\n' \"$rules\" | grep -n physdev | head -n 1 | cut -d: -f1)\n\
        if [ -n \"$line\" ]; then echo \"iptables-restore: line $line failed\" >&2; exit 1; fi\n\
        printf '%s\\n' \"$rules\" | exec /usr/sbin/iptables-legacy-restore \"$@\"\n";
    let directory = tempfile::tempdir().unwrap();
    let tool = directory.path().join("iptables-legacy-restore");
    std::fs::write(&tool, refuses).unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let shell = format!("PATH={}:$PATH exec \"$@\"", directory.path().display());
    let mut scenario = Scenario::without_waiting(&shell, &[(GUEST100, ON)]);
    let warning = scenario
        .wait_for_warning("guests are not filtered by iptables: the kernel refuses rules with the match physdev");
    assert_eq!((&warning["kind"], &warning["affected"]["guests"]), (&"no-physdev".into(), &serde_json::json!([100])));
    scenario.check_all(ProbeResult::Arrived, [Probe::tcp(Outside, VM100, V4, 23)]);
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, Family::V6, 23)]);
    assert_eq!(scenario.status(&["--exit-code"]).1, 2);
    std::fs::remove_file(tool).unwrap();
    scenario.restart(&[]);
    scenario.wait_until_healthy();
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 24)]);
}
