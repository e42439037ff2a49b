//! `compile --diff` against live rules, in a network namespace.
use crate::netns::Netns;
use crate::wait::{OutputInTime, WaitInTime};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Node {
    netns: Netns,
    root: TempDir,
}

impl Node {
    /// A node with the live rules of `cluster`, whose daemon has been killed.
    fn with(cluster: &str) -> Node {
        let node = Node { netns: Netns::new("pvefw-diff"), root: tempfile::tempdir().unwrap() };
        node.write("nodes/n1/host.fw", "[OPTIONS]\nnosmurfs: 1\n");
        node.write("firewall/cluster.fw", cluster);
        let args = ["--root", node.root.path().to_str().unwrap(), "--node", "n1", "start", "--foreground"];
        let mut daemon = node.netns.spawn(env!("CARGO_BIN_EXE_pve-firewall"), &args);
        let deadline = Instant::now() + Duration::from_secs(30);
        while node.diff() != "no changes\n" {
            assert!(Instant::now() < deadline, "timed out waiting for the rules");
        }
        // SIGKILL leaves the rules in place
        daemon.kill().unwrap();
        daemon.wait_in_time();
        node
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.root.path().join("etc/pve").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn diff(&self) -> String {
        let mut command = self.netns.command(env!("CARGO_BIN_EXE_pve-firewall"));
        command.arg("--root").arg(self.root.path()).args(["--node", "n1", "compile", "--diff"]);
        let output = command.output_in_time();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn cluster(&self) -> String {
        self.root.path().join("etc/pve/firewall/cluster.fw").display().to_string()
    }
}

const CLUSTER: &str = "[OPTIONS]\nenable: 1\n[IPSET web]\n10.0.0.1\n[RULES]\nIN SSH(ACCEPT)\nIN DROP -source +web\n";

/// The changed lines of a chain.
fn changes<'a>(diff: &'a str, chain: &str) -> Vec<&'a str> {
    let lines = diff.lines().skip_while(|line| *line != chain).skip(1).take_while(|line| !line.is_empty());
    lines.filter(|line| line.starts_with(['+', '-'])).collect()
}

#[test]
fn a_change_shows_its_lines_and_their_origin() {
    let node = Node::with(CLUSTER);
    let scripts = || fs::read_dir(node.root.path().join("var/lib/pve-firewall")).unwrap().count();
    let (before, saved) = (scripts(), node.netns.exec("iptables-save; ip6tables-save; ipset save"));
    let new = CLUSTER
        .replace("IN SSH", "IN ACCEPT -p tcp -dport http -source 10.0.0.5,10.0.0.6\nIN SSH")
        .replace("0.1\n", "0.2\n");
    node.write("firewall/cluster.fw", &new);
    let (diff, file) = (node.diff(), node.cluster());
    let added = changes(&diff, "ip4 filter: update PVEFW-HOST-IN");
    assert_eq!(added.len(), 2, "{diff}");
    for (line, address) in added.iter().zip(["10.0.0.5/32", "10.0.0.6/32"]) {
        let rule = format!("+ -A PVEFW-HOST-IN -s {address} -p tcp -m tcp --dport 80 -j RETURN");
        assert!(line.starts_with(&rule) && line.ends_with(&format!("# {file}:6")), "{line}");
    }
    let set = changes(&diff, "ipset: update PVEFW-0-web-v4");
    assert_eq!(set[0], "- add PVEFW-0-web-v4 10.0.0.1");
    assert!(set[1].starts_with("+ add PVEFW-0-web-v4 10.0.0.2 ") && set[1].ends_with(&format!("# {file}:3")), "{diff}");
    assert!(!diff.contains("PVEFW-Drop\n") && !diff.contains('\u{1b}'), "{diff}");
    // nothing is changed
    let counters =
        |text: &str| text.lines().filter(|line| !line.starts_with(['#', ':'])).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(counters(&node.netns.exec("iptables-save; ip6tables-save; ipset save")), counters(&saved));
    assert_eq!(scripts(), before);
}

#[test]
fn disabling_the_firewall_removes_every_chain() {
    let node = Node::with(CLUSTER);
    node.write("firewall/cluster.fw", &CLUSTER.replace("enable: 1", "enable: 0"));
    let diff = node.diff();
    let removed = changes(&diff, "ip4 filter: delete PVEFW-HOST-IN");
    assert!(removed.iter().any(|line| line.starts_with("- -A PVEFW-HOST-IN -p tcp -m tcp --dport 22")), "{diff}");
    assert!(!diff.lines().any(|line| line.starts_with("+ ")), "{diff}");
    assert!(Path::new(&node.cluster()).exists());
}
