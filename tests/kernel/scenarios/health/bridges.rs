//! Packets of guests that bypass the rules because of devices, kernel settings or modules.
use super::super::site::{GUEST100, ON, Site, wait_for};
use super::{Case, V4, check};
use crate::testbed::Endpoint::Outside;
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::ruleset::Family;

const BYPASSED: &[Case] = &[Case {
    does: "ip link set tap100i0 master vmbr0; bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static",
    packet: || Probe::tcp(Outside, VM100, V4, 23),
    right: ProbeResult::Dropped,
    wrong: ProbeResult::Arrived,
    kind: "not-on-firewall-bridge",
    text: "tap100i0 has firewall=1 but is a port of vmbr0 and not of fwbr100i0",
    node: false,
    guests: &[100],
    exit: 2,
    remedy: "ip link set tap100i0 master fwbr100i0; bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static
            bridge fdb replace bc:24:11:00:64:00 dev fwpr100p0 master static",
}];

#[test]
fn devices_that_bypass_the_rules_are_found_and_filtered_after_the_remedy() {
    check(BYPASSED);
}

#[test]
fn bridge_filtering_that_is_switched_off_is_back_within_a_second() {
    let mut site = Site::new(&[(GUEST100, ON)]);
    for (setting, family) in [("iptables", V4), ("ip6tables", Family::V6)] {
        site.all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, family, 23)]);
        let begun = std::time::Instant::now();
        let setting = format!("bridge-nf-call-{setting}");
        site.testbed.node.exec(&format!("sysctl -qw net.bridge.{setting}=0"));
        wait_for("the setting", || {
            let now = site.testbed.node.exec(&format!("cat /proc/sys/net/bridge/{setting}"));
            (now == "1\n").then_some(())
        });
        assert!(begun.elapsed() < std::time::Duration::from_millis(2500), "{:?}", begun.elapsed());
        site.all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, family, 24)]);
        assert_eq!(site.logged(&format!("{setting} was 0, set to 1")), 1, "{:#?}", site.log());
    }
    // a write through another instance of procfs causes no event
    let setting = "net.bridge.bridge-nf-call-iptables";
    site.testbed.node.exec(&format!("unshare -m sh -c 'mount -t proc proc /proc && sysctl -qw {setting}=0'"));
    wait_for("the setting", || (site.testbed.node.exec(&format!("sysctl -n {setting}")) == "1\n").then_some(()));
    site.wait_until_healthy();
}

#[test]
fn bridge_filtering_that_cannot_be_switched_on_is_found() {
    let mut site = Site::in_read_only_sysctls(&[(GUEST100, ON)]);
    site.all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
    site.testbed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
    site.all(ProbeResult::Arrived, [Probe::tcp(Outside, VM100, V4, 23)]);
    let text = "guests are not filtered by iptables: net.bridge.bridge-nf-call-iptables is 0 and cannot be set";
    let warning = site.wait_for_warning(text);
    assert_eq!(warning["kind"], "bridge-filtering-off");
    assert_eq!(site.status(&["--exit-code"]).1, 2);
    let verbose = site.status(&["--verbose"]).0;
    assert!(verbose.contains(&format!("WARNING: {text} (guest 100)\n  since: ")), "{verbose}");
    assert!(verbose.contains("  remedy: 'sysctl -w net.bridge.bridge-nf-call-iptables=1'"), "{verbose}");
    site.testbed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=1");
    site.wait_until_healthy();
    site.all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
}

#[test]
fn a_kernel_without_br_netfilter_is_found() {
    let hidden = "mount -t tmpfs none /proc/sys/net/bridge && exec \"$@\"";
    let mut site = Site::ill(&format!("exec unshare -m sh -c '{hidden}' sh \"$@\""), &[(GUEST100, ON)]);
    // as without the module
    site.testbed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0");
    for (family, tool) in [(V4, "iptables"), (Family::V6, "ip6tables")] {
        site.all(ProbeResult::Arrived, [Probe::tcp(Outside, VM100, family, 23)]);
        let warning = site.wait_for_warning(&format!("the kernel has no net.bridge.bridge-nf-call-{tool}"));
        assert_eq!((&warning["kind"], &warning["severity"]), (&"bridge-filtering-off".into(), &"unfiltered".into()));
        assert!(warning["remedy"].as_str().unwrap().contains("modprobe br_netfilter"), "{warning:#}");
    }
    assert_eq!(site.status(&["--exit-code"]).1, 2);
    site.in_daemon("umount /proc/sys/net/bridge");
    site.wait_until_healthy();
    site.all(ProbeResult::Dropped, Family::ALL.map(|family| Probe::tcp(Outside, VM100, family, 24)));
}

#[test]
fn a_kernel_without_physdev_is_found() {
    // the tool refuses the match, as without the kernel's module
    let refuses = "#!/bin/sh\nrules=$(cat)\nline=$(printf '%s\\n' \"$rules\" | grep -n physdev | head -n 1 | cut -d: -f1)\n\
        if [ -n \"$line\" ]; then echo \"iptables-restore: line $line failed\" >&2; exit 1; fi\n\
        printf '%s\\n' \"$rules\" | exec /usr/sbin/iptables-legacy-restore \"$@\"\n";
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("iptables-legacy-restore");
    std::fs::write(&tool, refuses).unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let shell = format!("PATH={}:$PATH exec \"$@\"", folder.path().display());
    let mut site = Site::ill(&shell, &[(GUEST100, ON)]);
    let warning =
        site.wait_for_warning("guests are not filtered by iptables: the kernel refuses rules with the match physdev");
    assert_eq!((&warning["kind"], &warning["affected"]["guests"]), (&"no-physdev".into(), &serde_json::json!([100])));
    site.all(ProbeResult::Arrived, [Probe::tcp(Outside, VM100, V4, 23)]);
    site.all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, Family::V6, 23)]);
    assert_eq!(site.status(&["--exit-code"]).1, 2);
    std::fs::remove_file(tool).unwrap();
    site.restart(&[]);
    site.wait_until_healthy();
    site.all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 24)]);
}
