//! The daemon, with the real tools in a network namespace. Needs root.
mod locks;
mod watchdog;

use crate::fuse::Fuse;
use crate::node::{CLUSTER, FILES, GUEST, Node, wait_for};
use crate::wait::{OutputInTime, WaitInTime, repeat_during};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SSH: &str = "-A tap100i0-IN -p tcp -m tcp --dport 22 -j ACCEPT";

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// Stops the daemon with SIGTERM; it must exit with 0.
fn terminate(mut child: Child) {
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
}

/// Waits for one of two conditions; returns whether it was the first.
fn wait_for_either(first: impl Fn() -> bool, second: impl Fn() -> bool) -> bool {
    wait_for("one of two conditions", || if first() { Some(true) } else { second().then_some(false) })
}

#[test]
fn a_cluster_without_guests_has_a_firewall_and_applies_changes() {
    let node = Node::without_files("dm-young");
    node.write(".vmlist", r#"{"version":1}"#);
    node.write("firewall/cluster.fw", CLUSTER);
    assert!(node.run_ok(&["check"]).contains("0 errors"));
    assert!(node.run_ok(&["compile"]).contains("create PVEFW-INPUT"));
    let daemon = node.start();
    node.wait_for_rule("--dport 8006 -j RETURN");
    // a guest is added, then the last one is deleted: its rules are removed, and changes for the host are still applied
    node.write("nodes/n1/qemu-server/100.conf", "net0: virtio=02:00:00:00:00:01,bridge=vmbr0,firewall=1\n");
    node.write("firewall/100.fw", "[OPTIONS]\nenable: 1\n");
    node.write(".vmlist", r#"{"version":2,"ids":{"100":{"node":"n1","type":"qemu","version":2}}}"#);
    node.wait_for_rule("tap100i0-IN");
    fs::remove_file(node.config().join("nodes/n1/qemu-server/100.conf")).unwrap();
    fs::remove_file(node.config().join("firewall/100.fw")).unwrap();
    node.write(".vmlist", r#"{"version":3}"#);
    wait_for("the removal of the deleted guest's rules", || (!node.rules().contains("tap100i0")).then_some(()));
    node.write("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 8007\n");
    node.wait_for_rule("--dport 8007 -j RETURN");
    assert!(node.run_ok(&["status"]).starts_with("Status: enabled/running"));
    terminate(daemon);
}

#[test]
fn the_daemon_starts_applies_changes_and_stops() {
    let node = Node::new("pvefw-daemon");
    assert_eq!(node.run_ok(&["status"]), "Status: enabled/stopped\n");
    assert_eq!(node.run_ok(&["start"]), "");
    assert!(node.rules().contains(SSH), "live when the command returns: {}", node.rules());
    assert_eq!(node.run_ok(&["status"]), "Status: enabled/running\n");
    assert!(node.run_ok(&["compile"]).ends_with("\nno changes\n"));
    let pid = node.pid().unwrap();
    let error = node.run_failing(&["start"]);
    assert!(error.contains(&format!("already running, with pid {pid}")), "{error}");
    // the daemon and its reading process, neither with its working directory in the configuration tree
    assert_eq!(node.processes().len(), 2);
    for pid in node.processes() {
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), std::path::Path::new("/"));
    }
    // three changes within one regular cycle are detected, in at least one of several attempts
    let in_one_cycle = |round: u16| {
        let began = Instant::now();
        for port in (1000 + 3 * round..).take(3) {
            node.write("firewall/100.fw", &GUEST.replace("22", &port.to_string()));
            node.wait_for_rule(&SSH.replace("22", &port.to_string()));
        }
        began.elapsed() < Duration::from_secs(10)
    };
    assert!((0..6).any(in_one_cycle), "changes wait for the regular cycle");
    assert_eq!(node.run_ok(&["stop"]), "");
    assert_eq!(node.own_rules(), "");
    assert_eq!(node.processes(), [0i32; 0]);
    assert_eq!(node.run_ok(&["status"]), "Status: enabled/stopped\n");
    let left =
        ["lock/pvefw.lck", "pve-firewall/daemon.lock", "proxmox-nftables-firewall-force-disable", "xtables.lock"];
    assert!(node.files("run").iter().all(|file| left.contains(&file.as_str())), "{:?}", node.files("run"));
    let messages = ["starting server", "server shutting down", "clear PVE-generated firewall rules"];
    for message in messages {
        assert_eq!(node.logged(message), 1, "{message}: {:#?}", node.log());
    }
}

#[test]
fn an_altname_is_replaced_by_its_interface() {
    let node = Node::new("pvefw-altname");
    node.netns.exec("ip link add wan0 type bridge && ip link property add dev wan0 altname uplink");
    node.write("firewall/cluster.fw", &format!("{CLUSTER}IN ACCEPT -i uplink -p tcp -dport 443\n"));
    let child = node.start();
    node.wait_for_rule("-A PVEFW-HOST-IN -i wan0 -p tcp -m tcp --dport 443 -j RETURN");
    terminate(child);
}

#[test]
fn a_restart_keeps_rules_and_process_and_runs_the_program_on_disk() {
    let node = Node::new("pvefw-restart");
    node.run_ok(&["restart"]);
    assert!(node.rules().contains(SSH), "started, because it was not running");
    let pid = node.pid().unwrap();
    let started = || node.status().map(|status| status["started"].clone());
    let before = started();
    let exe = node.path("sbin/pve-firewall");
    node.replace_program();
    assert_ne!(fs::read_link(format!("/proc/{pid}/exe")).unwrap(), exe, "it still runs the old program");
    let checks = repeat_during(
        || assert!(node.rules().contains(SSH), "the rules are missing"),
        || {
            node.run_ok(&["restart"]);
            node.run_ok(&["-verbose", "1", "restart"]);
        },
    );
    assert!(checks > 2);
    assert_eq!(node.pid(), Some(pid));
    assert_ne!(started(), before);
    assert_eq!(fs::read_link(format!("/proc/{pid}/exe")).unwrap(), exe);
    assert_eq!(node.processes().len(), 2, "no second reading process");
    assert_eq!(node.logged("clear PVE-generated"), 0);
    // without the program file the daemon continues
    fs::rename(&exe, node.path("sbin/away")).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    node.wait_for_log("restart failed");
    fs::rename(node.path("sbin/away"), &exe).unwrap();
    node.write("firewall/100.fw", &GUEST.replace("22", "23"));
    node.wait_for_rule(&SSH.replace("22", "23"));
    node.run_ok(&["stop"]);
    assert_eq!(node.own_rules(), "");
}

#[test]
fn stop_removes_the_rules_of_a_killed_daemon() {
    let node = Node::new("pvefw-killed");
    let mut child = node.start();
    signal(&child, Signal::SIGKILL);
    child.wait_in_time();
    wait_for("the end of the reading process", || node.processes().is_empty().then_some(()));
    assert!(node.rules().contains(SSH));
    assert_eq!(node.run_ok(&["status"]), "Status: enabled/stopped\n");
    // a stale pid file whose pid belongs to another process
    fs::write(node.path("run/pve-firewall.pid"), format!("{}\n", std::process::id())).unwrap();
    node.run_ok(&["stop"]);
    assert_eq!(node.own_rules(), "");
    node.run_ok(&["start"]);
    node.run_ok(&["stop"]);
}

#[test]
fn rules_are_removed_when_the_firewall_is_disabled_expired_or_uses_nftables() {
    let node = Node::new("pvefw-disabled");
    let flag = node.path("run/proxmox-nftables-firewall-force-disable");
    let child = node.start();
    assert!(flag.exists());
    let gone = || wait_for("the removal of the rules", || node.own_rules().is_empty().then_some(()));
    node.write("firewall/cluster.fw", &CLUSTER.replace("enable: 1", "enable: 0"));
    gone();
    assert_eq!(node.run_ok(&["status"]), "Status: disabled/running\n");
    assert!(node.run_ok(&["compile"]).ends_with("no changes\nfirewall disabled\n"));
    assert!(flag.exists());
    // `enable` with a time ends one minute after it: the firewall is enabled for some seconds, which may already have passed on a
    // busy machine
    let on_for = |seconds: &u64| {
        let until = SystemTime::now() + Duration::from_secs(*seconds);
        let enable = format!("enable: {}", until.duration_since(UNIX_EPOCH).unwrap().as_secs() - 60);
        node.write("firewall/cluster.fw", &CLUSTER.replace("enable: 1", &enable));
        wait_for_either(|| node.rules().contains(SSH), || SystemTime::now() > until)
    };
    assert!([4, 8, 16, 32].iter().any(on_for), "it is enabled until then");
    gone();
    node.write("firewall/cluster.fw", CLUSTER);
    node.wait_for_rule(SSH);
    node.write("nodes/n1/host.fw", "[OPTIONS]\nnftables: 1\n");
    wait_for("the confirmed change", || {
        node.run_ok(&["status", "--json"]).contains("\"nftables\": false").then_some(())
    });
    node.wait_for_rule(SSH);
    let backend = node.path("usr/libexec/proxmox/proxmox-firewall");
    fs::create_dir_all(backend.parent().unwrap()).unwrap();
    fs::write(&backend, "").unwrap();
    fs::set_permissions(&backend, fs::Permissions::from_mode(0o755)).unwrap();
    // the rules stay until the tables of the other backend are live
    node.wait_for_log("waiting for proxmox-firewall");
    assert!(node.rules().contains(SSH));
    node.netns.exec(
        "nft 'add table inet proxmox-firewall; add chain inet proxmox-firewall cluster-in
         add rule inet proxmox-firewall cluster-in drop; add table bridge proxmox-firewall-guests
         add chain bridge proxmox-firewall-guests guest-100-in
         add rule bridge proxmox-firewall-guests guest-100-in drop'",
    );
    // the tables of this program are removed, those of the other program stay
    wait_for("the removal of the rules", || (!node.rules().contains("PVEFW-")).then_some(()));
    wait_for("the removal of the flag file", || (!flag.exists()).then_some(()));
    // the daemon writes its status after the flag file is removed
    wait_for("a status without warnings", || (node.run_ok(&["status"]) == "Status: enabled/running\n").then_some(()));
    fs::remove_file(&backend).unwrap();
    node.wait_for_rule(SSH);
    // not earlier, because the other backend then removes its tables
    wait_for("the flag file", || flag.exists().then_some(()));
    terminate(child);
}

#[test]
fn an_empty_tree_leaves_the_rules_and_is_reported_once() {
    let node = Node::new("pvefw-emptied");
    let child = node.start();
    let away = node.path("away");
    fs::rename(node.config(), &away).unwrap();
    fs::create_dir(node.config()).unwrap();
    node.wait_for_log("contains neither .vmlist nor nodes/n1");
    let error = node.run_failing(&["status"]);
    assert!(error.contains("is pve-cluster running"), "{error}");
    // rules changed by other programs are repaired
    node.netns.exec("iptables-legacy -w -F tap100i0-IN");
    node.wait_for_rule(SSH);
    fs::remove_dir(node.config()).unwrap();
    fs::rename(&away, node.config()).unwrap();
    node.wait_for_log("no longer: status update error:");
    assert_eq!(
        node.logged("contains neither .vmlist nor nodes/n1"),
        2,
        "not logged once when it began and once when it ended: {:#?}",
        node.log()
    );
    assert_eq!(node.logged("clear PVE-generated"), 0);
    terminate(child);
}

#[test]
fn a_killed_cluster_file_system_leaves_the_rules_and_is_reported_once() {
    let node = Node::without_files("pvefw-abort");
    let fuse = Fuse::mount(&node.config(), &FILES);
    let child = node.start();
    node.wait_for_rule(SSH);
    let reports = || node.log().into_iter().filter(|line| line.contains(node.config().to_str().unwrap())).count();
    assert_eq!(reports(), 0, "{:#?}", node.log());
    fuse.kill();
    wait_for("the report", || (reports() > 0).then_some(()));
    // changes by another program trigger some cycles
    for _ in 0..2 {
        node.netns.exec("iptables-legacy -w -F tap100i0-IN");
        node.wait_for_rule(SSH);
    }
    assert_eq!(reports(), 1, "{:#?}", node.log());
    assert_eq!(node.logged("clear PVE-generated"), 0);
    terminate(child);
    assert_eq!(node.own_rules(), "");
}

#[test]
fn configuration_errors_are_logged_once_when_they_occur_and_when_they_are_gone() {
    let node = Node::new("pvefw-reports");
    node.write("firewall/100.fw", &format!("{GUEST}IN NONSENSE\n"));
    let child = node.start();
    let location = "100.fw (line 5)";
    for port in [23, 24] {
        node.write("firewall/100.fw", &format!("{}IN NONSENSE\n", GUEST.replace("22", &port.to_string())));
        node.wait_for_rule(&SSH.replace("22", &port.to_string()));
    }
    assert_eq!(node.logged(location), 1, "{:#?}", node.log());
    let details = node.run_ok(&["status", "--verbose"]);
    assert!(details.contains("100.fw:5"), "{details}");
    node.write("firewall/100.fw", GUEST);
    node.wait_for_log(&format!("no longer: {}/firewall/{location}", node.config().display()));
    assert_eq!(node.logged(location), 2);
    terminate(child);
}

#[test]
fn an_unreadable_guest_keeps_its_rules_across_a_restart() {
    let node = Node::new("pvefw-unreadable");
    let child = node.start();
    let file = node.config().join("firewall/100.fw");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    node.wait_for_log("100.fw: cannot be read, its last good content is used");
    node.run_ok(&["restart"]);
    node.wait_for_log("it is not a regular file): guest 100 keeps its live rules");
    node.write("firewall/cluster.fw", &CLUSTER.replace("8006", "8007"));
    node.wait_for_rule("--dport 8007");
    assert!(node.rules().contains(SSH), "{}", node.rules());
    fs::remove_dir(&file).unwrap();
    wait_for("the removal of the guest's rules", || (!node.rules().contains(SSH)).then_some(()));
    terminate(child);
}

#[test]
fn an_invalid_value_of_enable_leaves_the_rules_in_place() {
    let node = Node::new("dm-unclear");
    let host = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 9100\n";
    node.write("nodes/n1/host.fw", host);
    let of_this_daemon = |status: &serde_json::Value| status["pid"].as_i64() == node.pid().map(i64::from);
    let updated = || wait_for("the first update", || node.status().filter(of_this_daemon).map(drop));
    let mut child = node.start();
    updated();
    node.wait_for_rule("--dport 9100");
    // without dates and counters
    let rule = |line: &str| (!line.starts_with('#')).then(|| line.split(" [").next().unwrap_or(line).to_string());
    let rules = || node.rules().lines().filter_map(rule).collect::<Vec<_>>().join("\n");
    let live = rules();
    let files = [("firewall/100.fw", GUEST), ("nodes/n1/host.fw", host), ("firewall/cluster.fw", CLUSTER)];
    for (path, text) in files {
        node.write(path, &text.replace("enable: 1", "enable: maybe"));
        node.wait_for_log(&format!("{path} (line 2): can't parse option 'enable: maybe'"));
    }
    assert!(rules() == live, "{}", rules());
    // across a restart, and after a boot
    node.run_ok(&["restart"]);
    wait_for("the new daemon", || node.log().iter().filter(|line| line.contains("starting")).nth(1).map(drop));
    updated();
    assert!(rules() == live, "{}", rules());
    assert_eq!(node.run_ok(&["status"]), "Status: enabled/running\n");
    terminate(child);
    assert!(!node.rules().contains("PVEFW-INPUT"));
    child = node.start();
    updated();
    node.wait_for_rule("--dport 9100");
    assert!(rules() == live, "{}", rules());
    // a valid value is used immediately
    node.write("firewall/100.fw", &GUEST.replace("enable: 1", "enable: no"));
    wait_for("the removal of the guest's rules", || (!node.rules().contains(SSH)).then_some(()));
    node.write("firewall/cluster.fw", &CLUSTER.replace("enable: 1", "enable: 0"));
    wait_for("the removal of all rules", || (!node.rules().contains("PVEFW-INPUT")).then_some(()));
    terminate(child);
}

#[test]
fn sets_of_sdn_are_live_and_follow_its_files() {
    let node = Node::new("dm-sdn");
    let ipam = |address: &str| {
        format!(r#"{{"zones":{{"z":{{"subnets":{{"10.1.0.0/24":{{"ips":{{"{address}":{{"vmid":"100"}}}}}}}}}}}}}}"#)
    };
    let running = r#"{"vnets":{"ids":{"vnet0":{"zone":"z"}}},"subnets":{"ids":{"z-10.1.0.0-24":{"vnet":"vnet0"}}}}"#;
    node.write("sdn/.running-config", running);
    node.write("priv/ipam.db", &ipam("10.1.0.7"));
    node.write(
        "firewall/100.fw",
        &format!("{GUEST}IN DROP -source +sdn/vnet0-all\nIN DROP -source +sdn/guest-ipam-100\n"),
    );
    let daemon = node.start();
    node.wait_for_rule("--match-set PVEFW-0-vnet0-all-v4 src -j DROP");
    let name = node.rules().lines().filter(|line| line.starts_with("-A tap100i0-IN")).find_map(|line| {
        let set = line.split(' ').find(|word| word.starts_with("PVEFW-") && !word.contains("vnet0"))?;
        line.contains("src -j DROP").then(|| set.to_string())
    });
    let name = name.expect("a rule with the guest's set");
    let has = |set: &str, entry: &str| {
        let listed = node.netns.command("ipset").args(["list", set]).output_in_time().stdout;
        String::from_utf8(listed).unwrap().lines().any(|line| line == entry)
    };
    assert!(has("PVEFW-0-vnet0-all-v4", "10.1.0.0/24") && has(&name, "10.1.0.7"));
    // the newer file is used, then its changes
    for address in ["10.1.0.8", "10.1.0.9"] {
        node.write("sdn/pve-ipam-state.json", &ipam(address));
        wait_for(address, || has(&name, address).then_some(()));
    }
    assert!(!has(&name, "10.1.0.7"));
    node.write("sdn/.running-config", &running.replace("10.1.0.0-24", "10.1.0.0-25"));
    wait_for("the changed subnet", || has("PVEFW-0-vnet0-all-v4", "10.1.0.0/25").then_some(()));
    // an invalid file changes nothing
    node.write("sdn/.running-config", "{\n");
    node.wait_for_log("sdn/.running-config: invalid JSON");
    assert!(has("PVEFW-0-vnet0-all-v4", "10.1.0.0/25") && node.rules().contains("PVEFW-0-vnet0-all-v4 src -j DROP"));
    terminate(daemon);
}
