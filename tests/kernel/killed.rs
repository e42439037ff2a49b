//! A daemon that is killed at any step: during its start, an update and its end. No refused packet passes while rules are
//! to be live, and the next daemon completes what it left. Needs root and strace.
use crate::node::{Node, wait_for};
use crate::packets::Stream;
use crate::strace::{self, kill_at};
use crate::wait::WaitInTime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::model::BackendKind;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

/// The system calls with which a daemon locks and changes files and starts tools. Not those that the tools make as well.
const STEPS: &str = "rename,unlink,flock,mkdir,chmod,clone3,pipe2";

/// Kills the daemon of a node at a step of its start, an update or its end; returns whether it was killed. Its configuration
/// accepts connections to a port.
type KillAtStep = fn(&Node, usize, u16) -> bool;

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// The options of strace by which one of the threads of a process is killed at the given one of its steps, counted from 1.
fn strace_options(step: usize) -> impl Iterator<Item = String> {
    ["-f".to_string()].into_iter().chain(kill_at(STEPS, step))
}

/// Starts a daemon that is killed at a step; returns whether it was before its first update was complete.
fn kill_during_start(node: &Node, step: usize, port: u16) -> bool {
    let mut command = strace::under_strace(&node.command(&["start", "--foreground"]), strace_options(step));
    let mut tracer = command.stderr(Stdio::null()).spawn().unwrap();
    let killed = wait_for("an update or a kill", || {
        tracer.try_wait().unwrap().map(|_| true).or_else(|| node.accepts(port).then_some(false))
    });
    if !killed {
        // a later step may kill it at this moment
        if let Some(pid) = node.pid() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        tracer.wait_in_time();
    }
    killed
}

/// Starts a daemon, and waits for its own first update.
fn start_and_wait(node: &Node) -> Child {
    let _ = fs::remove_file(node.path(&format!("run/{}/status.json", node.kind.program())));
    node.start()
}

/// A running daemon that is killed at a step, counted from now on.
fn start_traced(node: &Node, step: usize) -> (Child, Child) {
    let daemon = start_and_wait(node);
    let mut command = Command::new("strace");
    command.args(strace_options(step)).args(["-p", &daemon.id().to_string()]);
    let mut tracer = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut attached = String::new();
    BufReader::new(tracer.stderr.as_mut().unwrap()).read_line(&mut attached).unwrap();
    assert!(attached.contains("attached"), "{attached}");
    (daemon, tracer)
}

/// Kills a daemon at a step of an update; returns whether this was before the update was complete.
fn kill_during_update(node: &Node, step: usize, port: u16) -> bool {
    let (mut daemon, mut tracer) = start_traced(node, step);
    node.accept(port);
    let killed = wait_for("an update or a kill", || {
        daemon.try_wait().unwrap().map(|_| true).or_else(|| node.accepts(port).then_some(false))
    });
    if !killed {
        signal(&daemon, Signal::SIGKILL);
        daemon.wait_in_time();
    }
    tracer.wait_in_time();
    killed
}

/// Kills a daemon at a step of its end, in which it removes the rules; returns whether it was killed.
fn kill_during_termination(node: &Node, step: usize) -> bool {
    let (mut daemon, mut tracer) = start_traced(node, step);
    signal(&daemon, Signal::SIGTERM);
    let status = daemon.wait_in_time();
    tracer.wait_in_time();
    assert!(status.success() || status.signal() == Some(9), "{status}");
    !status.success()
}

#[test]
fn no_packet_passes_when_the_daemon_is_killed_at_any_step() {
    let node = Node::with_backend(BackendKind::Nftables, "pvefw-killed");
    let stream = Stream::start(&node.netns);
    let mut port = 1000;
    let mut next = || {
        port += 1;
        port
    };
    let mut daemon = start_and_wait(&node);
    signal(&daemon, Signal::SIGKILL);
    daemon.wait_in_time();
    let before = stream.final_count();
    for (phase, killed) in [("start", kill_during_start as KillAtStep), ("update", kill_during_update)] {
        // a start has many steps: with `PVEFW_LONG_TESTS` at each
        let stride = if phase == "start" && std::env::var_os("PVEFW_LONG_TESTS").is_none() { 3 } else { 1 };
        let mut kills = 0;
        for step in (1..).step_by(stride) {
            let port = next();
            if phase == "start" {
                node.accept(port);
            }
            if !killed(&node, step, port) {
                break;
            }
            kills += 1;
            assert_eq!(stream.final_count(), before, "packets passed, killed at step {step} of {phase}");
        }
        println!("killed {kills} times at a step of {phase}");
        assert!(kills > 1, "{phase}");
        assert_eq!(stream.final_count(), before, "packets passed");
    }
    let mut steps = 0;
    while kill_during_termination(&node, steps + 1) {
        steps += 1;
        // both tables or none
        let ours = node.own_rules();
        assert!(matches!(ours.lines().count(), 0 | 2), "killed at step {steps}: {ours}");
        daemon = start_and_wait(&node);
        let before = stream.final_count();
        signal(&daemon, Signal::SIGKILL);
        daemon.wait_in_time();
        assert_eq!(stream.final_count(), before, "packets passed, killed at step {steps} of the end");
    }
    println!("{steps} steps of the end");
    assert!(steps > 0);
    assert_eq!(node.own_rules(), "");
    stream.wait_for_packet();
}
