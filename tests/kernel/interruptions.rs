//! Restarts, kills, locks and clock jumps during a stream of refused packets: none is accepted, and the daemon never hangs. Needs
//! root.
mod prestarted_restore;
mod state_files;

use crate::fake_clock::FakeClock;
use crate::node::{GUEST, Node, wait_for};
use crate::packets::Stream;
use crate::paused_tools::PausedTools;
use crate::wait::{OutputInTime, WaitInTime};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::model::BackendKind;
use std::fs::{self, File};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SSH: &str = "-A tap100i0-IN -p tcp -m tcp --dport 22 -j ACCEPT";

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

fn change(node: &Node, port: u16) {
    node.write("firewall/100.fw", &GUEST.replace("22", &port.to_string()));
}

fn wait_until_port_is_accepted(node: &Node, port: u16) {
    node.wait_for_rule(&SSH.replace("22", &port.to_string()));
}

#[test]
fn no_packet_passes_during_restarts_upgrades_kills_and_with_a_second_daemon() {
    let node = Node::new("pvefw-held");
    let stream = Stream::start(&node.netns);
    let mut child = node.start();
    let before = stream.final_count();
    for round in 0..3u16 {
        // the program is replaced in the middle of a change
        change(&node, 1000 + round);
        node.replace_program();
        signal(&child, Signal::SIGHUP);
        wait_until_port_is_accepted(&node, 1000 + round);
        // a second daemon does not start, with any command
        assert!(node.run_failing(&["start"]).contains("already running"));
        assert_eq!(node.command(&["start", "--foreground"]).output_in_time().status.code(), Some(1));
        // systemctl restart
        signal(&child, Signal::SIGQUIT);
        assert!(child.wait_in_time().success());
        change(&node, 1500 + round);
        child = node.start();
        wait_until_port_is_accepted(&node, 1500 + round);
        // a kill at a random time during a change
        change(&node, 2000 + round);
        std::thread::sleep(Duration::from_millis(400 + 150 * u64::from(round)));
        signal(&child, Signal::SIGKILL);
        child.wait_in_time();
        // then another process has its pid
        fs::write(node.path("run/pve-firewall.pid"), format!("{}\n", std::process::id())).unwrap();
        change(&node, 3000 + round);
        child = node.start();
        wait_until_port_is_accepted(&node, 3000 + round);
    }
    assert_eq!(stream.final_count(), before, "refused packets passed");
    // termination in the middle of a change: all rules are removed, and none is added again
    change(&node, 4000);
    assert_eq!(node.run_ok(&["stop"]), "");
    assert!(child.wait_in_time().success());
    assert_eq!(node.own_rules(), "");
    stream.wait_for_packet();
}

/// The number of tool runs in an update: at least a restore and a save of each family's table, or one of nft.
fn steps(kind: BackendKind, runs: usize) -> impl Iterator<Item = usize> {
    let least = if kind == BackendKind::Iptables { 4 } else { 1 };
    assert!(runs >= least, "an update runs tools: {runs}");
    1..=runs
}

#[test]
fn no_packet_passes_when_the_daemon_is_replaced_or_killed_at_any_step_of_an_update() {
    BackendKind::ALL.into_iter().for_each(nothing_passes_at_any_step);
}

fn nothing_passes_at_any_step(kind: BackendKind) {
    let node = Node::with_backend(kind, "pvefw-steps");
    let paused = PausedTools::new(&node);
    let stream = Stream::start(&node.netns);
    let mut child = paused.start_daemon();
    let before = stream.final_count();
    let runs = paused.count_runs(|| node.accept(999));
    for (round, run) in steps(kind, runs).enumerate() {
        let port = 1000 + u16::try_from(run).unwrap();
        let started = node.status().map(|status| status["started"].clone());
        paused.pause_at(run);
        node.accept(port);
        paused.wait_until_paused();
        match round % 3 {
            // the program is replaced
            0 => {
                node.replace_program();
                signal(&child, Signal::SIGHUP);
                paused.resume();
                wait_for("the re-executed daemon", || {
                    node.status().filter(|status| Some(&status["started"]) != started.as_ref())
                });
            }
            1 => {
                signal(&child, Signal::SIGKILL);
                child.wait_in_time();
                // the tool continues after the daemon was killed, and ends when another daemon runs
                child = node.command(&["start", "--foreground"]).spawn().unwrap();
                paused.resume();
                node.wait_until_accepted(port);
                signal(&child, Signal::SIGKILL);
                child.wait_in_time();
                child = paused.start_daemon();
            }
            // systemctl restart: the update is finished first
            _ => {
                let message = "server shutting down, the rules stay in place";
                let before = node.logged(message);
                signal(&child, Signal::SIGQUIT);
                wait_for("the signal to be handled", || (node.logged(message) > before).then_some(()));
                paused.resume();
                assert!(child.wait_in_time().success());
                assert!(node.accepts(port));
                child = paused.start_daemon();
            }
        }
        node.wait_until_accepted(port);
        assert_eq!(stream.final_count(), before, "refused packets passed, at run {run} of {runs}");
    }
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
    stream.wait_for_packet();
}

#[test]
fn termination_at_any_step_of_an_update_removes_the_rules() {
    BackendKind::ALL.into_iter().for_each(termination_removes_the_rules);
}

fn termination_removes_the_rules(kind: BackendKind) {
    let node = Node::with_backend(kind, "pvefw-ends");
    let paused = PausedTools::new(&node);
    let mut child = paused.start_daemon();
    let runs = paused.count_runs(|| node.accept(999));
    for (round, run) in steps(kind, runs).enumerate() {
        if round > 0 {
            child = paused.start_daemon();
        }
        paused.pause_at(run);
        node.accept(1000 + u16::try_from(run).unwrap());
        paused.wait_until_paused();
        // proxmox-firewall can be stopped only with systemd
        let stop = (kind == BackendKind::Iptables && round % 2 == 0).then(|| node.command(&["stop"]).spawn().unwrap());
        if stop.is_none() {
            signal(&child, Signal::SIGTERM);
        }
        wait_for("the signal to be handled", || (node.logged("server shutting down") > round).then_some(()));
        paused.resume();
        assert!(child.wait_in_time().success());
        assert!(stop.is_none_or(|mut stop| stop.wait_in_time().success()), "run {run}: stop");
        assert_eq!(node.own_rules(), "", "run {run} of {runs}");
        assert_eq!(node.processes(), [0i32; 0]);
    }
}

#[test]
fn a_stop_signal_takes_precedence_over_a_restart() {
    let node = Node::new("pvefw-both");
    let paused = PausedTools::new(&node);
    let mut child = paused.start_daemon();
    for first in [Signal::SIGQUIT, Signal::SIGHUP] {
        paused.pause_at(1);
        change(&node, 1000);
        paused.wait_until_paused();
        signal(&child, first);
        signal(&child, Signal::SIGTERM);
        // the daemon stops nevertheless
        signal(&child, Signal::SIGQUIT);
        wait_for("the signal to be handled", || (node.logged("server shutting down") > 0).then_some(()));
        paused.resume();
        assert!(child.wait_in_time().success());
        assert_eq!(node.own_rules(), "");
        change(&node, 22);
        child = paused.start_daemon();
    }
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
}

#[test]
fn an_xtables_lock_held_by_another_program_only_delays_updates() {
    for (seconds, refused) in [(3, false), (60, true)] {
        let long = std::env::var_os("PVEFW_LONG_TESTS").is_some();
        // the restore tools wait 10 s, so 14 s are sufficient
        let held = Duration::from_secs(if refused && !long { 14 } else { seconds });
        let node = Node::new("pvefw-xtables");
        let lock = node.path("run/xtables.lock");
        fs::create_dir_all(node.path("run")).unwrap();
        let file = File::create(&lock).unwrap();
        let mut child = node.command(&["start", "--foreground"]).spawn().unwrap();
        // another table of the first update must not be the one that waits for the lock
        wait_for("the first update", || node.status().map(drop));
        node.wait_for_rule(SSH);
        let taken = Flock::lock(file, FlockArg::LockExclusive).unwrap();
        let began = Instant::now();
        change(&node, 23);
        let message = "Another app is currently holding the xtables lock";
        if refused {
            node.wait_for_log(message);
        }
        while began.elapsed() < held {
            assert!(node.rules().contains(SSH), "the old rules stay in place");
            std::thread::sleep(Duration::from_millis(200));
        }
        drop(taken);
        wait_until_port_is_accepted(&node, 23);
        assert_eq!(node.logged(message) > 0, refused, "{:#?}", node.log());
        if refused {
            node.wait_for_log("no longer: status update error: iptables filter");
        }
        signal(&child, Signal::SIGTERM);
        assert!(child.wait_in_time().success());
        assert_eq!(node.own_rules(), "");
    }
}

/// The wall clock of the daemon and its tools jumps.
#[test]
fn a_clock_jump_neither_removes_rules_nor_delays_updates() {
    let node = Node::new("pvefw-clock");
    let clock = FakeClock::new(&node);
    let mut command = node.command(&["start", "--foreground"]);
    clock.apply_to(&mut command);
    let mut child = command.spawn().unwrap();
    node.wait_for_rule(SSH);
    let mut rule = SSH.to_string();
    for (port, days) in (23..).zip([400i64, -800, 36_500, -7_000, 0]) {
        clock.set(&format!("{days:+}d"));
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let jumped = |status: serde_json::Value| {
            let shift = status["updated"].as_i64().unwrap() - i64::try_from(real).unwrap();
            (shift.abs_diff(days * 86_400) < 3600).then_some(())
        };
        node.write("firewall/100.fw", &GUEST.replace("22", &port.to_string()));
        let wanted = SSH.replace("22", &port.to_string());
        wait_for("the change", || {
            let rules = node.rules();
            assert!(rules.contains(&rule) || rules.contains(&wanted), "{days}: {rules}");
            rules.contains(&wanted).then_some(())
        });
        wait_for("an update by that clock", || node.status().and_then(jumped));
        rule = wanted;
    }
    // sysctls of the machine cannot be changed in this namespace
    let errors = |line: &&String| line.contains("error") && !line.contains("cannot set /");
    assert_eq!(node.log().iter().filter(errors).count(), 0, "{:#?}", node.log());
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
    assert_eq!(node.own_rules(), "");
}

/// A command in a private mount namespace.
fn with_mounts(node: &Node, script: &str, args: &[&str]) -> Command {
    let plain = node.command(args);
    let mut command: Command = node.netns.command("sh");
    let run = format!("set -e; R={}; {script}; shift 3; exec \"$@\"", node.path("").display());
    command.args(["-c", &run, "sh"]).args(plain.get_args());
    command
}

#[test]
fn rules_are_applied_with_full_or_read_only_directories() {
    BackendKind::ALL.into_iter().for_each(applied_without_state);
}

fn applied_without_state(kind: BackendKind) {
    let full = |directory: &str| {
        format!(
            "mkdir -p $R/{directory}; mount -t tmpfs -o size=4k,nr_inodes=4 none $R/{directory}; head -c 8192 /dev/zero >$R/{directory}/fill 2>/dev/null || true"
        )
    };
    let read_only = |directory: &str| format!("mkdir -p $R/{directory}; mount -t tmpfs -o ro none $R/{directory}");
    for script in [full("var/lib"), read_only("var/lib"), full("run"), read_only("run")] {
        let node = Node::with_backend(kind, "pvefw-full");
        let start = || with_mounts(&node, &script, &["start", "--foreground"]).spawn().unwrap();
        let mut child = start();
        node.wait_until_accepted(22);
        node.accept(23);
        node.wait_until_accepted(23);
        let reported =
            node.log().iter().filter(|line| line.contains("file system") || line.contains("o space left")).count();
        assert!(reported > 0 || script.contains("nr_inodes"), "{script}: it is reported: {:#?}", node.log());
        node.accept(24);
        node.wait_until_accepted(24);
        // each is reported once, for any number of updates
        let mut times = std::collections::BTreeMap::new();
        for line in node.log() {
            let text = line.split_once("]: ").map_or(line.clone(), |(_, text)| text.to_string());
            *times.entry(text).or_insert(0) += 1;
        }
        assert!(times.values().all(|count| *count == 1), "{script}: {times:#?}");
        signal(&child, Signal::SIGTERM);
        assert!(child.wait_in_time().success(), "{script}");
        assert_eq!(node.own_rules(), "");
        // all rules are removed
        child = start();
        node.wait_until_accepted(24);
        signal(&child, Signal::SIGKILL);
        child.wait_in_time();
        if kind == BackendKind::Iptables {
            let stopped = with_mounts(&node, &script, &["stop"]).output_in_time();
            assert_eq!(node.own_rules(), "", "{script}: {stopped:?}");
        }
    }
}
