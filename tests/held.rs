//! What a daemon meets in its life while packets come that it refuses: none gets through, and it is never stuck. Needs root.
#![allow(clippy::disallowed_methods, reason = "tests write files and wait")]
#[path = "support/netns.rs"]
mod netns;
#[path = "support/node.rs"]
mod node;
#[path = "support/packets.rs"]
mod packets;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node::{CLUSTER, GUEST, Node, until};
use packets::Stream;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const SSH: &str = "-A tap100i0-IN -p tcp -m tcp --dport 22 -j ACCEPT";

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

fn change(node: &Node, port: u16) {
    node.write("firewall/100.fw", &GUEST.replace("22", &port.to_string()));
}

fn live(node: &Node, port: u16) {
    node.until_live(&SSH.replace("22", &port.to_string()));
}

#[test]
fn no_packet_passes_over_restarts_upgrades_kills_and_a_second_daemon() {
    let node = Node::new("pvefw-held");
    let stream = Stream::start(&node.netns);
    let mut child = node.start();
    let before = stream.settled();
    let exe = node.path("sbin/pve-firewall");
    for round in 0..3u16 {
        // an upgrade in place, in the middle of a change
        change(&node, 1000 + round);
        fs::copy(&exe, node.path("sbin/new")).unwrap();
        fs::rename(node.path("sbin/new"), &exe).unwrap();
        signal(&child, Signal::SIGHUP);
        live(&node, 1000 + round);
        // a second daemon does not start, by whatever way
        assert!(node.fails(&["start"]).contains("running already"));
        assert_eq!(node.command(&["start", "--foreground"]).output().unwrap().status.code(), Some(1));
        // a kill at some moment of a change
        change(&node, 2000 + round);
        std::thread::sleep(Duration::from_millis(400 + 150 * u64::from(round)));
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
        // whose number then belongs to another process
        fs::write(node.path("run/pve-firewall.pid"), format!("{}\n", std::process::id())).unwrap();
        change(&node, 3000 + round);
        child = node.start();
        live(&node, 3000 + round);
    }
    assert_eq!(stream.settled(), before, "packets got through");
    // the end, in the middle of a change: all rules go, and none comes back
    change(&node, 4000);
    assert_eq!(node.ok(&["stop"]), "");
    assert!(child.wait().unwrap().success());
    assert_eq!(node.ours(), "");
    stream.await_packet();
}

#[test]
fn the_xtables_lock_held_by_others_delays_and_no_more() {
    for (seconds, refused) in [(3, false), (60, true)] {
        let long = std::env::var_os("PVEFW_LONG_TESTS").is_some();
        // the restore tools wait 10 s: 14 s show what 60 s do
        let held = Duration::from_secs(if refused && !long { 14 } else { seconds });
        let node = Node::new("pvefw-xtables");
        let lock = node.path("run/xtables.lock");
        fs::create_dir_all(node.path("run")).unwrap();
        let file = File::create(&lock).unwrap();
        let mut command = node.command(&["start", "--foreground"]);
        // the tools' own lock, but not the machine's
        let mut child = command.env("XTABLES_LOCKFILE", &lock).spawn().unwrap();
        node.until_live(SSH);
        let taken = Flock::lock(file, FlockArg::LockExclusive).unwrap();
        let began = Instant::now();
        change(&node, 23);
        let fault = "Another app is currently holding the xtables lock";
        if refused {
            node.until_logged(fault);
        }
        while began.elapsed() < held {
            assert!(node.rules().contains(SSH), "the old rules stay");
            std::thread::sleep(Duration::from_millis(200));
        }
        drop(taken);
        live(&node, 23);
        assert_eq!(node.logged(fault) > 0, refused, "{:#?}", node.log());
        if refused {
            node.until_logged("no longer: status update error: iptables filter");
        }
        signal(&child, Signal::SIGTERM);
        assert!(child.wait().unwrap().success());
        assert_eq!(node.ours(), "");
    }
}

/// Starts the daemon where mounts that a script makes are its own.
fn start_with_mounts(node: &Node, script: &str) -> Child {
    let daemon = node.command(&["start", "--foreground"]);
    let mut command: Command = node.netns.command("sh");
    let run = format!("set -e; R={}; {script}; shift 3; exec \"$@\"", node.path("").display());
    command.args(["-c", &run, "sh"]).args(daemon.get_args()).spawn().unwrap()
}

#[test]
fn full_and_read_only_folders_keep_no_rule_from_being_live() {
    let full = |folder: &str| {
        format!(
            "mkdir -p $R/{folder}; mount -t tmpfs -o size=4k,nr_inodes=4 none $R/{folder}; head -c 8192 /dev/zero >$R/{folder}/fill 2>/dev/null || true"
        )
    };
    let read_only = |folder: &str| format!("mkdir -p $R/{folder}; mount -t tmpfs -o ro none $R/{folder}");
    for script in [full("var/lib"), read_only("var/lib"), full("run"), read_only("run")] {
        let node = Node::new("pvefw-full");
        let mut child = start_with_mounts(&node, &script);
        node.until_live(SSH);
        change(&node, 23);
        live(&node, 23);
        let told =
            node.log().iter().filter(|line| line.contains("file system") || line.contains("o space left")).count();
        assert!(told > 0 || script.contains("nr_inodes"), "{script}: it is reported: {:#?}", node.log());
        change(&node, 24);
        live(&node, 24);
        // a script that is not kept is told of once an update, and there were three
        let mut times = std::collections::BTreeMap::new();
        for line in node.log() {
            let text = line.split_once("]: ").map_or(line.clone(), |(_, text)| text.to_string());
            *times.entry(text).or_insert(0) += 1;
        }
        assert!(times.values().all(|count| *count <= 3), "{script}: {times:#?}");
        signal(&child, Signal::SIGTERM);
        assert!(child.wait().unwrap().success(), "{script}");
        assert_eq!(node.ours(), "");
    }
}

/// Every file that the daemon writes, with a symlink in its place.
#[test]
fn no_symlink_is_followed() {
    let node = Node::new("pvefw-links");
    let victim = node.path("victim");
    fs::write(&victim, "untouched").unwrap();
    let state = [
        "ipsetcmdlist1",
        "ipsetcmdlist2",
        "ip4cmdlist",
        "ip4cmdlistraw",
        "ip6cmdlist",
        "ip6cmdlistraw",
        "ebtablescmdlist",
        "log_nf_conntrack",
        "last-good",
        "ebtables.atomic",
    ];
    let state = state.iter().map(|name| format!("var/lib/pve-firewall/{name}"));
    let run = ["pve-firewall.pid", "pve-firewall/status.json", "pve-firewall/daemon.lock", "lock/pvefw.lck"];
    let run = run.iter().map(|name| format!("run/{name}"));
    let flag = "run/proxmox-nftables-firewall-force-disable".to_string();
    let all: Vec<String> = state.chain(run).chain([flag]).collect();
    for path in &all {
        fs::create_dir_all(node.path(path).parent().unwrap()).unwrap();
        for link in [path.clone(), format!("{path}.new")] {
            symlink(&victim, node.path(&link)).unwrap();
        }
    }
    node.write("nodes/n1/host.fw", "[OPTIONS]\nlog_nf_conntrack: 1\n");
    node.write("firewall/cluster.fw", &format!("{CLUSTER}[IPSET some]\n192.0.2.1\n"));
    let mut child = node.command(&["start", "--foreground"]).spawn().unwrap();
    node.until_live(SSH);
    node.write("firewall/cluster.fw", CLUSTER);
    change(&node, 23);
    live(&node, 23);
    until("the status file", || node.status());
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
    assert_eq!(node.ours(), "");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    let written = node.path("var/lib/pve-firewall/ip4cmdlist");
    assert!(fs::symlink_metadata(written).unwrap().is_file(), "the link is replaced");
}
