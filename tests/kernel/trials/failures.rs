//! Trials with failures: kills at any step, restarts, another boot, a full or read-only file system, a clock that jumps.
use super::{NEW, OLD, assert_exit, candidate, node_with_candidate, start_trial, stop, trial, trial_seconds};
use crate::fake_clock::FakeClock;
use crate::node::{CLUSTER, GUEST, Node, wait_for};
use crate::strace::{self, kill_at};
use crate::wait::{OutputInTime, WaitInTime, repeat_during};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn send_signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn a_kill_or_restart_of_the_daemon_neither_ends_nor_prolongs_a_trial() {
    let (node, mut daemon) = node_with_candidate("pvefw-killed");
    let length = trial_seconds(&node, 12);
    let began = Instant::now();
    let attempt = start_trial(&node, length, &["100.fw"]);
    node.wait_for_rule(NEW);
    for signal in [Signal::SIGKILL, Signal::SIGHUP, Signal::SIGKILL] {
        let before = node.status().unwrap()["started"].clone();
        send_signal(&daemon, signal);
        if signal == Signal::SIGKILL {
            daemon.wait_in_time();
            daemon = node.command(&["start", "--foreground"]).spawn().unwrap();
        }
        wait_for("the restarted daemon", || {
            assert!(node.rules().contains(NEW) && !node.rules().contains(OLD));
            node.status().filter(|status| status["started"] != before)
        });
        assert!(trial(&node).is_some(), "{:?}", began.elapsed());
    }
    assert!(began.elapsed() < Duration::from_secs(length), "the machine is too busy for this test");
    assert_exit(attempt, 3);
    assert!(began.elapsed() < Duration::from_secs(3 * length), "{:?}", began.elapsed());
    node.wait_for_rule(OLD);
    stop(&node, daemon);
}

#[test]
fn a_daemon_started_after_the_deadline_applies_the_tree() {
    let (node, mut daemon) = node_with_candidate("pvefw-late");
    let length = trial_seconds(&node, 3);
    let mut attempt = start_trial(&node, length, &["100.fw"]);
    node.wait_for_rule(NEW);
    send_signal(&daemon, Signal::SIGKILL);
    daemon.wait_in_time();
    sleep(Duration::from_secs(length + 1));
    assert!(node.rules().contains(NEW), "no daemon ends it");
    let error = node.run_failing(&["confirm"]);
    assert!(error.contains("not confirmed in time"), "{error}");
    daemon = node.start();
    node.wait_for_rule(OLD);
    assert!(!node.rules().contains(NEW));
    assert_eq!(attempt.wait_in_time().code(), Some(3));
    stop(&node, daemon);
}

#[test]
fn a_trial_of_another_boot_is_ignored() {
    let (node, mut daemon) = node_with_candidate("pvefw-reboot");
    let mut attempt = start_trial(&node, 600, &["100.fw"]);
    node.wait_for_rule(NEW);
    send_signal(&daemon, Signal::SIGKILL);
    daemon.wait_in_time();
    // as if /run had survived a reboot; the monotonic clock of the new boot is not comparable with the deadline
    let path = node.path("run/pve-firewall/trial/trial.json");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let other = text.replace(boot.trim(), "00000000-0000-0000-0000-000000000000");
    assert_ne!(text, other);
    fs::write(&path, other).unwrap();
    daemon = node.start();
    node.wait_for_rule(OLD);
    node.wait_for_log("trial of 100.fw: reverted: the node was rebooted");
    assert_eq!(attempt.wait_in_time().code(), Some(3));
    assert!(!path.exists());
    stop(&node, daemon);
}

#[test]
fn a_clock_jump_does_not_move_the_deadline() {
    let node = Node::new("pvefw-jump");
    let clock = FakeClock::new(&node);
    let jumping = |args: &[&str]| {
        let mut command = node.command(args);
        clock.apply_to(&mut command);
        command
    };
    let daemon = jumping(&["start", "--foreground"]).spawn().unwrap();
    node.wait_for_rule(OLD);
    let file = candidate(&node, "100.fw", &GUEST.replace("22", "2222"));
    let began = Instant::now();
    let mut attempt = jumping(&["try", "--for", "10", &file]).spawn().unwrap();
    node.wait_for_rule(NEW);
    for days in [400, -800] {
        clock.set(&format!("{days:+}d"));
        sleep(Duration::from_secs(1));
        assert!(node.rules().contains(NEW), "{days}");
    }
    assert_eq!(attempt.wait_in_time().code(), Some(3));
    let took = began.elapsed().as_secs();
    assert!((10..40).contains(&took), "{took}");
    node.wait_for_rule(OLD);
    stop(&node, daemon);
}

/// The mounts of the node are those of this process's own namespace.
struct Mount(std::path::PathBuf);

impl Mount {
    fn new(node: &Node, directory: &str, options: &str) -> Self {
        let path = node.path(directory);
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&path).output_in_time().status;
        assert!(status.success());
        Mount(path)
    }

    fn remount(&self, options: &str) {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).output_in_time().status;
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).output_in_time();
    }
}

#[test]
fn a_read_only_configuration_is_not_confirmed_and_the_trial_continues() {
    let node = Node::new("pvefw-quorum");
    let mount = Mount::new(&node, "etc/pve/firewall", "size=1m");
    node.write("firewall/cluster.fw", CLUSTER);
    node.write("firewall/100.fw", GUEST);
    let daemon = node.start();
    candidate(&node, "100.fw", &GUEST.replace("22", "2222"));
    node.wait_for_rule(OLD);
    let attempt = start_trial(&node, trial_seconds(&node, 8), &["100.fw"]);
    node.wait_for_rule(NEW);
    mount.remount("ro");
    let error = node.run_failing(&["confirm"]);
    assert!(error.contains("without a quorum") && error.contains("the trial continues until its deadline"), "{error}");
    assert!(trial(&node).is_some() && node.rules().contains(NEW));
    assert_eq!(fs::read_to_string(node.config().join("firewall/100.fw")).unwrap(), GUEST);
    assert_exit(attempt, 3);
    node.wait_for_rule(OLD);
    stop(&node, daemon);
}

#[test]
fn with_a_full_run_no_trial_starts_and_a_running_one_can_be_reverted() {
    let node = Node::new("pvefw-full-run");
    fs::create_dir_all(node.path("run/pve-firewall")).unwrap();
    let _mount = Mount::new(&node, "run/pve-firewall", "size=128k");
    let daemon = node.start();
    let large = format!("{}{}", GUEST.replace("22", "2222"), "# comment\n".repeat(20_000));
    let large = candidate(&node, "large/100.fw", &large);
    let error = node.run_failing(&["try", &large]);
    assert!(error.contains("the files cannot be stored for the daemon") && error.contains("No space left"), "{error}");
    assert!(trial(&node).is_none() && node.rules().contains(OLD));
    assert_eq!(node.files("run/pve-firewall/trial"), ["lock"]);
    candidate(&node, "100.fw", &GUEST.replace("22", "2222"));
    let first = start_trial(&node, 600, &["100.fw"]);
    node.wait_for_rule(NEW);
    let fill = node.path("run/pve-firewall/fill");
    let _ = fs::write(&fill, vec![0; 1 << 20]);
    // reverting needs no space: it only removes the trial's files
    assert!(node.rules().contains(NEW));
    let _ = node.run(&["revert"]);
    node.wait_for_rule(OLD);
    fs::remove_file(&fill).unwrap();
    assert_eq!(first.output_in_time().status.code(), Some(3));
    stop(&node, daemon);
}

#[test]
fn an_upgrade_takes_over_a_running_trial() {
    let (node, daemon) = node_with_candidate("pvefw-upgrade");
    let length = trial_seconds(&node, 20);
    let began = Instant::now();
    let attempt = start_trial(&node, length, &["100.fw"]);
    node.wait_for_rule(NEW);
    let before = wait_for("the trial", || trial(&node));
    let checks = repeat_during(
        || assert!(node.rules().contains(NEW) && !node.rules().contains(OLD), "the old rules were live"),
        || {
            for _ in 0..2 {
                node.replace_program();
                node.run_ok(&["restart"]);
                assert_eq!(wait_for("the trial", || trial(&node)), before, "the same deadline");
            }
        },
    );
    assert!(checks > 3 && began.elapsed() < Duration::from_secs(length), "the machine is too busy for this test");
    assert_exit(attempt, 3);
    assert!(began.elapsed() >= Duration::from_secs(length), "{:?}", began.elapsed());
    node.wait_for_rule(OLD);
    stop(&node, daemon);
}

/// Not those that the tools of a daemon make as well.
const CHANGES: &str = "rename,unlink,flock,mkdir,chmod";

/// Starts a daemon that is killed when one of its threads makes the given one of the system calls with which it locks and
/// changes files, counted from 1; returns whether it was, and ends it if it was not.
fn daemon_killed_at(node: &Node, call: usize) -> bool {
    let status = node.path("run/pve-firewall/status.json");
    let _ = fs::remove_file(&status);
    let options = ["-f".to_string()].into_iter().chain(kill_at(CHANGES, call));
    let mut command = strace::under_strace(&node.command(&["start", "--foreground"]), options);
    let mut tracer = command.stderr(Stdio::null()).spawn().unwrap();
    let killed = wait_for("an update or a kill", || {
        tracer.try_wait().unwrap().map(|_| true).or_else(|| status.exists().then_some(false))
    });
    if !killed {
        // a later call may have killed it
        let _ = kill(Pid::from_raw(node.pid().unwrap()), Signal::SIGKILL);
        tracer.wait_in_time();
    }
    killed
}

#[test]
fn a_daemon_killed_at_any_step_keeps_a_running_trial_and_ends_one_that_is_over() {
    let (node, mut daemon) = node_with_candidate("pvefw-kill-daemon");
    let manifest = node.path("run/pve-firewall/trial/trial.json");
    let mut attempt = start_trial(&node, 3600, &["100.fw"]);
    node.wait_for_rule(NEW);
    send_signal(&daemon, Signal::SIGKILL);
    daemon.wait_in_time();
    let is_new = || node.rules().contains(NEW) && !node.rules().contains(OLD);
    let kills = (1..).take_while(|call| daemon_killed_at(&node, *call)).inspect(|call| {
        assert!(manifest.exists() && is_new(), "killed at call {call}");
    });
    assert!(kills.count() > 2);
    assert!(manifest.exists() && is_new());
    let trial = fs::read_to_string(&manifest).unwrap();
    let deadline = serde_json::from_str::<serde_json::Value>(&trial).unwrap()["deadline"].to_string();
    let began = serde_json::from_str::<serde_json::Value>(&trial).unwrap()["began"].to_string();
    fs::write(&manifest, trial.replace(&deadline, &began)).unwrap();
    let mut kills = 0;
    while daemon_killed_at(&node, kills + 1) {
        kills += 1;
    }
    assert!(kills > 2, "{kills}");
    assert!(!manifest.exists() && node.rules().contains(OLD));
    assert_eq!(attempt.wait_in_time().code(), Some(3));
    daemon = node.start();
    assert!(node.rules().contains(OLD) && !node.rules().contains(NEW));
    stop(&node, daemon);
}

#[test]
fn a_revert_killed_at_any_step_ends_the_trial_or_leaves_it() {
    let (node, daemon) = node_with_candidate("pvefw-kill-rev");
    let file = node.path("root/100.fw").to_str().unwrap().to_string();
    for call in 1.. {
        let length = trial_seconds(&node, 5).to_string();
        let attempt = node.command(&["try", "--for", &length, &file]).stderr(Stdio::null()).spawn().unwrap();
        node.wait_for_rule(NEW);
        let killed = killed_at(&node, call, &["revert"]);
        // either way it is over at its deadline
        assert_eq!(attempt.output_in_time().status.code(), Some(3), "{call}");
        node.wait_for_rule(OLD);
        assert!(!node.path("run/pve-firewall/trial/trial.json").exists());
        if !killed {
            assert!(call > 2, "{call}");
            break;
        }
    }
    assert_eq!(fs::read_to_string(node.config().join("firewall/100.fw")).unwrap(), GUEST);
    stop(&node, daemon);
}

/// A command that is killed when it makes the given one of the system calls that change anything, counted from 1.
fn killed_at(node: &Node, call: usize, args: &[&str]) -> bool {
    let options = kill_at("rename,unlink,write,fchmod,chmod,mkdir", call);
    let status = strace::under_strace(&node.command(args), options).output_in_time().status;
    // strace ends as the command did
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

#[test]
fn a_try_killed_at_any_step_leaves_a_complete_trial_or_none() {
    let (node, daemon) = node_with_candidate("pvefw-kill-try");
    let file = node.path("root/100.fw").to_str().unwrap().to_string();
    let mut began = 0;
    for call in 1.. {
        let killed = killed_at(&node, call, &["try", "--for", "2", &file]);
        // it exists completely or not at all: either way it ends soon, and another one can start
        began += usize::from(node.path("run/pve-firewall/trial/trial.json").exists());
        wait_for("no trial", || {
            (trial(&node).is_none() && !node.path("run/pve-firewall/trial/trial.json").exists()).then_some(())
        });
        node.wait_for_rule(OLD);
        if !killed {
            assert!(call > 5, "{call}");
            break;
        }
    }
    assert!(began > 0, "one was killed with the trial under way");
    stop(&node, daemon);
}

#[test]
fn a_confirmation_killed_at_any_step_leaves_old_or_new_files() {
    let (node, daemon) = node_with_candidate("pvefw-kill-conf");
    let file = node.path("root/100.fw").to_str().unwrap().to_string();
    let path = node.config().join("firewall/100.fw");
    let (mut old, mut new) = (0, 0);
    for call in 1.. {
        node.write("firewall/100.fw", GUEST);
        node.wait_for_rule(OLD);
        sleep(Duration::from_millis(500));
        let length = trial_seconds(&node, 4).to_string();
        let attempt = node.command(&["try", "--for", &length, &file]).stderr(Stdio::null()).spawn().unwrap();
        node.wait_for_rule(NEW);
        let killed = killed_at(&node, call, &["confirm"]);
        let written = fs::read_to_string(&path).unwrap();
        let status = attempt.output_in_time().status.code();
        match written == GUEST {
            true => {
                assert_eq!(status, Some(3), "{call}");
                node.wait_for_rule(OLD);
                old += 1;
            }
            false => {
                assert_eq!(written, GUEST.replace("22", "2222"), "{call}");
                assert_eq!(status, Some(0), "{call}");
                node.wait_for_rule(NEW);
                new += 1;
            }
        }
        if !killed {
            break;
        }
    }
    assert!(old > 0 && new > 1, "{old} {new}");
    stop(&node, daemon);
}
