//! `try` on a terminal: the prompt, the countdown, and keys.
use super::{NEW, OLD, node_with_candidate, stop, trial, trial_seconds};
use crate::node::{GUEST, Node, wait_for};
use crate::wait::{WaitInTime, wait_for_ok};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

/// A `try` on a pseudo-terminal.
struct TerminalTry {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<String>>,
}

impl TerminalTry {
    fn new(node: &Node, options: &[&str]) -> Self {
        let file = node.path("root/100.fw");
        let command = node.command(&[&["try"], options, &[file.to_str().unwrap()]].concat());
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        // the terminal sends signals to the processes that it controls
        let mut attempt = Command::new("setsid");
        attempt.env("NO_COLOR", "1");
        // a shell makes the programs that it starts in the background ignore Ctrl-C
        attempt.args(["--ctty", "env", "--default-signal=INT"]).arg(command.get_program()).args(command.get_args());
        attempt.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = attempt.spawn().unwrap();
        // only the child keeps the terminal's other end open
        drop(attempt);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, text) = (File::from(master.try_clone().unwrap()), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // reading from a terminal fails once its last program has ended
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        TerminalTry { child, keyboard: master.into(), shown }
    }

    fn wait_for_text(&self, text: &str) {
        wait_for_ok(&format!("'{text}' on the terminal"), || {
            let shown = self.shown.lock().unwrap();
            shown.contains(text).then_some(()).ok_or_else(|| shown.clone())
        });
    }

    fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Checks that the process exits with this status after printing a text.
    #[track_caller]
    fn assert_end(mut self, text: &str, status: i32) {
        assert_eq!(self.child.wait_in_time().code(), Some(status), "{}", self.shown.lock().unwrap());
        self.wait_for_text(text);
    }
}

#[test]
fn enter_confirms_the_trial() {
    let (node, daemon) = node_with_candidate("pvefw-enter");
    let mut attempt = TerminalTry::new(&node, &["--for", "120"]);
    attempt.wait_for_text("Try this for 120 s? [y/N] ");
    attempt.wait_for_text("update ip4 filter: tap100i0-IN");
    assert_eq!(trial(&node), None);
    attempt.type_keys("y\n");
    node.wait_for_rule(NEW);
    attempt.wait_for_text("\r100.fw: 118 s left. Enter confirms, Ctrl-C reverts");
    assert!(!attempt.shown.lock().unwrap().contains("121 s left"));
    attempt.type_keys("\n");
    attempt.assert_end("100.fw: confirmed", 0);
    assert_eq!(fs::read_to_string(node.config().join("firewall/100.fw")).unwrap(), GUEST.replace("22", "2222"));
    assert!(node.rules().contains(NEW));
    stop(&node, daemon);
}

#[test]
fn ctrl_c_reverts_at_once() {
    let (node, daemon) = node_with_candidate("pvefw-ctrl-c");
    let mut attempt = TerminalTry::new(&node, &["--for", "600", "--yes"]);
    node.wait_for_rule(NEW);
    attempt.wait_for_text("s left. Enter confirms");
    attempt.type_keys("\u{3}");
    attempt.assert_end("100.fw: reverted", 3);
    assert!(node.rules().contains(OLD) && !node.rules().contains(NEW), "the command waits for the rules");
    assert_eq!(fs::read_to_string(node.config().join("firewall/100.fw")).unwrap(), GUEST);
    stop(&node, daemon);
}

#[test]
fn no_trial_starts_unless_the_prompt_is_answered_with_yes() {
    let (node, daemon) = node_with_candidate("pvefw-no");
    for answer in ["n\n", "\n", "\u{4}"] {
        let mut attempt = TerminalTry::new(&node, &[]);
        attempt.wait_for_text("[y/N] ");
        attempt.type_keys(answer);
        attempt.assert_end("canceled", 1);
        assert_eq!(trial(&node), None, "{answer:?}");
    }
    let mut attempt = TerminalTry::new(&node, &[]);
    attempt.wait_for_text("[y/N] ");
    attempt.type_keys("\u{3}");
    assert!(!attempt.child.wait_in_time().success());
    assert!(trial(&node).is_none() && node.rules().contains(OLD));
    stop(&node, daemon);
}

#[test]
fn without_a_key_press_the_trial_ends_at_its_deadline() {
    let (node, daemon) = node_with_candidate("pvefw-no-key");
    let attempt = TerminalTry::new(&node, &["--for", "3", "--yes"]);
    attempt.wait_for_text(" s left");
    attempt.assert_end("100.fw: reverted: it was not confirmed in time", 3);
    node.wait_for_rule(OLD);
    stop(&node, daemon);
}

#[test]
fn a_closed_terminal_does_not_confirm_the_trial() {
    let (node, daemon) = node_with_candidate("pvefw-lost");
    let TerminalTry { mut child, keyboard, shown } =
        TerminalTry::new(&node, &["--for", &trial_seconds(&node, 6).to_string(), "--yes"]);
    node.wait_for_rule(NEW);
    wait_for("the countdown", || shown.lock().unwrap().contains("s left").then_some(()));
    // the last descriptor of the terminal is that of the thread that reads from it
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGHUP).unwrap();
    drop(keyboard);
    assert_eq!(child.wait_in_time().code(), Some(1));
    assert!(node.rules().contains(NEW) && trial(&node).is_some(), "it can be confirmed in another session");
    node.wait_for_rule(OLD);
    assert_eq!(node.logged("trial of 100.fw: reverted: it was not confirmed in time"), 1);
    stop(&node, daemon);
}
