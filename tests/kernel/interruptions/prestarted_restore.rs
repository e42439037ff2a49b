//! With large tables, the restore tool of iptables-legacy is started before the rules are compiled. It changes nothing unless
//! there is a script for it, and it neither outlives the update nor the daemon.
use super::signal;
use crate::generated;
use crate::node::{Node, wait_for};
use crate::wait::WaitInTime;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use pve_firewall::system::process::processors;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

/// Enough for more than 1,000 chains in a table.
const GUESTS: usize = 300;
const CLUSTER: &str = "firewall/cluster.fw";
const FILE: &str = "firewall/100.fw";
/// Attempts: on a busy machine the time of a waiting tool may end before the change is confirmed.
const TRIES: u16 = 10;

/// A node with large tables, a lock of its own, and a tool that records its standard input.
struct Large {
    node: Node,
}

impl Large {
    fn new() -> Self {
        let node = Node::without_files("pvefw-early");
        generated::write(GUESTS, &node.config());
        // ebtables-nft-restore needs a minute for these chains on an emulated machine
        let cluster = fs::read_to_string(node.config().join(CLUSTER)).unwrap();
        node.write(CLUSTER, &cluster.replacen("[OPTIONS]\n", "[OPTIONS]\nebtables: 0\n", 1));
        fs::create_dir_all(node.path("bin")).unwrap();
        let tool = node.path("bin/iptables-legacy-restore");
        let runs = node.path("runs");
        let script = format!(
            "#!/bin/sh\nreadlink /proc/self/fd/0 >>{}\nexec /usr/sbin/iptables-legacy-restore \"$@\"\n",
            runs.display()
        );
        fs::write(&tool, script).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        Large { node }
    }

    fn start(&self) -> Child {
        let node = &self.node;
        let mut command = node.command(&["start", "--foreground", "--variant", "legacy"]);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", node.path("bin").display()));
        let child = command.spawn().unwrap();
        let pid = i64::from(child.id());
        wait_for("the first update", || node.status().filter(|status| status["pid"] == pid).map(drop));
        child
    }

    fn lock(&self) -> PathBuf {
        self.node.path("run/xtables.lock")
    }

    fn is_locked(&self) -> bool {
        let file = File::create(self.lock()).unwrap();
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
    }

    /// What the tool got as standard input since the last call: a pipe if it was started early, otherwise a file.
    fn inputs(&self) -> Vec<String> {
        let path = self.node.path("runs");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().map(str::to_string).collect()
    }

    fn rule(port: u16) -> String {
        format!("IN ACCEPT -source 192.0.2.1 -p tcp -dport {port}\n")
    }

    fn has(&self, port: u16) -> bool {
        self.node.netns.exec("iptables-legacy-save -t filter").contains(&format!("--dport {port} -j"))
    }

    /// Adds a rule to a guest, as programs do that replace the file.
    fn add(&self, port: u16) {
        let text = fs::read_to_string(self.node.config().join(FILE)).unwrap();
        self.node.write(FILE, &(text + &Self::rule(port)));
    }

    fn wait_until_free(&self) {
        wait_for("the end of the tool", || (!self.is_locked() && self.tools() == 0).then_some(()));
    }

    /// The number of restore tools that run for this node.
    fn tools(&self) -> usize {
        let lock = "XTABLES_LOCKFILE=/proc/self/fd/1\0";
        let path = self.node.path("bin").display().to_string();
        let of_this_node = |entry: fs::DirEntry| {
            let variables = fs::read(entry.path().join("environ")).ok()?;
            let variables = String::from_utf8_lossy(&variables).into_owned();
            (variables.contains(lock) && variables.contains(&path)).then_some(())
        };
        fs::read_dir("/proc").unwrap().flatten().filter_map(of_this_node).count()
    }
}

#[test]
fn a_large_table_is_read_before_the_rules_are_compiled() {
    let large = Large::new();
    let mut child = large.start();
    let chains = large.node.netns.exec("iptables-legacy-save -t filter | grep -c ^:");
    assert!(chains.trim().parse::<usize>().unwrap() > 1000, "{chains}");
    large.inputs();
    let several = processors() > 1;
    let is_early = |port| {
        large.add(port);
        wait_for("the rule", || large.has(port).then_some(()));
        large.wait_until_free();
        let inputs = large.inputs();
        println!("{port}: {inputs:?}");
        matches!(&inputs[..], [one] if one.starts_with("pipe:"))
    };
    let early = (7000..7000 + TRIES).any(is_early);
    assert_eq!(early, several, "with one processor, the tool would delay the daemon");
    // a change without any rule
    large.node.write(FILE, &(fs::read_to_string(large.node.config().join(FILE)).unwrap() + "# nothing\n"));
    std::thread::sleep(Duration::from_millis(300));
    large.wait_until_free();
    // while another program has the lock, the update waits
    let taken = Flock::lock(File::create(large.lock()).unwrap(), FlockArg::LockExclusive).unwrap();
    large.add(7500);
    std::thread::sleep(Duration::from_secs(2));
    assert!(!large.has(7500));
    drop(taken);
    wait_for("the rule", || large.has(7500).then_some(()));
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
    assert_eq!(large.node.own_rules(), "");
}

#[test]
fn a_tool_that_waits_for_a_script_ends_while_a_file_is_still_being_written() {
    let large = Large::new();
    let mut child = large.start();
    large.inputs();
    let mut file = OpenOptions::new().append(true).open(large.node.config().join(FILE)).unwrap();
    file.write_all(Large::rule(7000).as_bytes()).unwrap();
    if processors() > 1 {
        // a regular cycle may read the first part of the text, and starts no tool early
        wait_for("the tool", || {
            file.write_all(b"# more\n").unwrap();
            large.inputs().iter().any(|input| input.starts_with("pipe:")).then_some(())
        });
    }
    large.wait_until_free();
    // other programs can change rules
    large.node.netns.exec("iptables-legacy -w 1 -A INPUT -j ACCEPT");
    assert!(!large.has(7000));
    drop(file);
    wait_for("the rule", || large.has(7000).then_some(()));
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
}

#[test]
fn a_tool_that_waits_for_a_script_ends_with_a_killed_daemon_and_changes_nothing() {
    let large = Large::new();
    let mut child = large.start();
    for round in 0..8u16 {
        let before = large.node.netns.exec("iptables-legacy-save -t filter | grep -v ^#");
        large.add(7000 + round);
        std::thread::sleep(Duration::from_millis(u64::from(round) * 15));
        signal(&child, Signal::SIGKILL);
        child.wait_in_time();
        large.wait_until_free();
        let after = large.node.netns.exec("iptables-legacy-save -t filter | grep -v ^#");
        let added = after.lines().filter(|line| line.contains(&format!("--dport {} -j", 7000 + round))).count();
        assert!(before == after || after.lines().count() == before.lines().count() + added, "a part of an update");
        child = large.start();
        wait_for("the rule", || large.has(7000 + round).then_some(()));
    }
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
}
