//! The daemon `proxmox-firewall` of a bench_node.
use crate::bench_node::BenchNode;
use crate::node::{copy_program, wait_for};
use crate::process::{self, children, memory, name};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

const PROGRAM: &str = "usr/libexec/proxmox/proxmox-firewall";
const STATUS: &str = "run/proxmox-firewall/status.json";

/// A running daemon, killed on drop.
pub struct Daemon<'a> {
    pub bench_node: &'a BenchNode,
    child: Child,
}

impl<'a> Daemon<'a> {
    /// Starts it and waits until its first update is done.
    pub fn start(bench_node: &'a BenchNode) -> Self {
        let program = bench_node.node.path(PROGRAM);
        fs::create_dir_all(program.parent().expect("a directory")).expect("a directory");
        copy_program(Path::new(env!("CARGO_BIN_EXE_proxmox-firewall")), &program);
        let mut command = bench_node.node.netns.command(program.to_str().expect("a path"));
        command.args(["start", "--node", "n1", "--root"]).arg(bench_node.node.path(""));
        let child = command.spawn().expect("the daemon");
        let updated = || {
            let text = fs::read_to_string(bench_node.node.path(STATUS)).ok()?;
            let status: serde_json::Value = serde_json::from_str(&text).ok()?;
            (status["updated"] != 0).then_some(())
        };
        wait_for("the first update", updated);
        Daemon { bench_node, child }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Its processor time so far, with that of its children.
    pub fn cpu(&self) -> Duration {
        process::cpu(self.pid())
    }

    /// Waits for the end of a cycle, after which it writes its status.
    pub fn wait_for_cycle(&self) {
        let written = || fs::metadata(self.bench_node.node.path(STATUS)).map(|file| file.ino()).ok();
        let before = written();
        wait_for("a cycle", || written().filter(|now| Some(*now) != before));
    }

    /// A value of /proc/PID/status in MB: of itself, and of its reading process.
    pub fn memory(&self, value: &str) -> [f64; 2] {
        let reading = children(self.pid()).into_iter().filter(|pid| name(*pid).contains("reader"));
        [memory(self.pid(), value), reading.map(|pid| memory(pid, value)).sum()]
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
