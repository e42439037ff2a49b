//! The programs that the daemon runs for each reason: none in a cycle without changes. Needs root.
use crate::node::{CLUSTER, GUEST, Node};
use crate::wait::wait_for;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

const TOOLS: [&str; 8] = [
    "iptables-legacy-save",
    "iptables-legacy-restore",
    "ip6tables-legacy-save",
    "ip6tables-legacy-restore",
    "ebtables-legacy",
    "ebtables-nft-save",
    "ebtables-nft-restore",
    "ipset",
];
/// The runs to read a table again after it has changed.
const FILTER: &str = "iptables-legacy-save -t filter";
const RESTORE: &str = "iptables-legacy-restore -w 10 -n";
/// The runs of a full reading.
const FULL_READING: [&str; 6] = [
    "ebtables",
    "ip6tables-legacy-save -t filter",
    "ip6tables-legacy-save -t raw",
    "ipset save",
    "iptables-legacy-save -t filter",
    "iptables-legacy-save -t raw",
];

/// An action, the condition that shows that the daemon has handled it, and the expected runs.
type Case = (&'static str, fn(&Node), fn(&Node) -> bool, &'static [&'static str]);

/// A full reading follows some seconds after a change of the rules.
const CASES: [Case; 4] = [
    ("two cycles without a change", |node| (0..2).for_each(|_| wait_for_cycle(node)), |_| true, &[]),
    (
        "a line is changed that makes no rule",
        |node| {
            node.write("firewall/cluster.fw", &format!("{CLUSTER}# a comment\n"));
            wait_for_cycle(node);
        },
        |_| true,
        &[],
    ),
    (
        "a rule of a guest is added",
        |node| node.write("firewall/100.fw", &format!("{GUEST}IN ACCEPT -source 192.0.2.1 -p tcp -dport 80\n")),
        |node| live(node, "--dport 80 "),
        &[RESTORE, FILTER],
    ),
    (
        "another program flushes a chain",
        |node| drop(node.netns.exec("iptables-legacy -w -F tap100i0-IN")),
        |node| live(node, "--dport 80 "),
        &[FILTER, RESTORE, FILTER],
    ),
];

/// Wrappers of the tools that log their command lines and execute the tools.
struct LoggedTools {
    directory: tempfile::TempDir,
    daemon: Child,
}

impl LoggedTools {
    /// Starts a daemon with the wrappers first in its PATH.
    fn start(node: &Node) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for tool in TOOLS {
            let log = directory.path().join("log");
            let script = format!("#!/bin/sh\necho {tool} \"$@\" >>{}\nexec /usr/sbin/{tool} \"$@\"\n", log.display());
            let path = directory.path().join(tool);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}:/usr/sbin", directory.path().display(), std::env::var("PATH").unwrap_or_default());
        let args = ["start", "--foreground", "--variant", "legacy"];
        let daemon = node.command(&args).env("PATH", path).spawn().unwrap();
        node.wait_for_rule("tap100i0-IN");
        let tools = LoggedTools { directory, daemon };
        tools.command_lines();
        tools
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The command lines since the last call, after no more are added.
    fn command_lines(&self) -> Vec<String> {
        let lines = || fs::read_to_string(self.log()).unwrap_or_default();
        let (mut last, mut since) = (lines(), Instant::now());
        wait_for("an interval without runs of tools", || {
            let now = lines();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            (since.elapsed() > Duration::from_secs(2)).then_some(())
        });
        let _ = fs::remove_file(self.log());
        last.lines().map(str::to_string).collect()
    }

    /// The differences from the expected full reading after a change.
    fn full_reading_differences(&self, after: &str) -> Vec<String> {
        wait_for(&format!("a full reading after {after}"), || self.log().exists().then_some(()));
        // the variant of ebtables depends on the kernel
        let name = |line: String| if line.starts_with("ebtables-") { "ebtables".into() } else { line };
        let mut ran: Vec<String> = self.command_lines().into_iter().map(name).collect();
        ran.sort();
        if ran == FULL_READING { vec![] } else { vec![format!("in a cycle after that ({after}): {ran:#?}")] }
    }

    /// The page faults of ended children, which grow with every child of the daemon; see proc_pid_stat(5).
    fn page_faults_of_children(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.daemon.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(8).unwrap().parse().unwrap()
    }

    fn children(&self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.daemon.id())).unwrap().flatten();
        tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default()).collect()
    }
}

/// Waits for the end of a cycle of the daemon, after which it writes its status.
fn wait_for_cycle(node: &Node) {
    let status = || node.status();
    let before = status();
    wait_for("a cycle", || (status() != before).then_some(()));
}

fn live(node: &Node, text: &str) -> bool {
    node.netns.exec("iptables-legacy-save -t filter").contains(text)
}

#[test]
fn only_changed_parts_are_written_and_read_again() {
    let node = Node::new("processes");
    let tools = LoggedTools::start(&node);
    let mut wrong = tools.full_reading_differences("the first update");
    for (what, action, is_handled, wanted) in CASES {
        let (ended, children) = (tools.page_faults_of_children(), tools.children());
        action(&node);
        wait_for(what, || is_handled(&node).then_some(()));
        let ran = tools.command_lines();
        if ran != wanted {
            wrong.push(format!("{what}: {ran:#?}"));
        }
        if !wanted.is_empty() {
            wrong.extend(tools.full_reading_differences(what));
        } else if (ended, children) != (tools.page_faults_of_children(), tools.children()) {
            wrong.push(format!("{what}: another program was run"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
