//! A `pvefw-logger` in a network namespace with its own root directory.
#![allow(dead_code, unused_imports, reason = "each program uses a part")]
use crate::netns::Netns;
use crate::wait::WaitInTime;
pub use crate::wait::{wait_for, wait_for_ok};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

/// A running logger; killed on drop.
pub struct Logger {
    child: Child,
    root: PathBuf,
}

impl Logger {
    /// Starts the logger and waits until it is ready.
    pub fn start(netns: &Netns, root: &Path, options: &[&str]) -> Self {
        let log = root.join("var/log/pve-firewall.log");
        let starts = starts(&log);
        let logger = Self::spawn(netns, root, options);
        wait_for("the logger's start", || (self::starts(&log) > starts).then_some(()));
        logger
    }

    /// Starts the logger without waiting.
    pub fn spawn(netns: &Netns, root: &Path, options: &[&str]) -> Self {
        let dir = root.to_str().expect("a path in UTF-8");
        let args = [&["--foreground", "--root", dir], options].concat();
        let child = netns.spawn(env!("CARGO_BIN_EXE_pvefw-logger"), &args);
        Logger { child, root: root.to_path_buf() }
    }

    /// The pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The log's path.
    pub fn log(&self) -> PathBuf {
        self.root.join("var/log/pve-firewall.log")
    }

    /// The content of the log; empty if it does not exist.
    pub fn text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until the log has a line that contains `part`, and returns the line.
    pub fn line_with(&self, part: &str) -> String {
        wait_for(&format!("a line with '{part}' in the log {}", self.log().display()), || {
            let text = self.text();
            // complete lines only
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            whole.lines().find(|line| line.contains(part)).map(str::to_string)
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).expect("a process number")), signal)
            .expect("signalling the logger");
    }

    /// Waits for the process to end.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for("the logger's end", || self.child.try_wait().expect("the logger's state"))
    }

    /// Stops it with SIGTERM.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.wait_for_exit().success(), "the logger failed");
    }

    /// Stops it with SIGTERM and returns the log.
    pub fn stop(mut self) -> String {
        self.terminate();
        self.text()
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait_in_time();
    }
}

fn starts(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().matches("starting pvefw logger\n").count()
}

/// The number of lines from the flood's rule.
pub fn packet_lines(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("100 6 tap100i0-IN ")).count()
}

/// The total number of entries reported as skipped.
pub fn skipped(text: &str) -> usize {
    let reports = text.lines().filter_map(|line| line.split_once(" skipped ")?.1.split_once(" log entries"));
    reports.map(|(number, _)| number.parse::<usize>().expect("a number")).sum()
}
