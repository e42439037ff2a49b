//! The programs of both backends on one node: the switch from one to the other, with a stream of packets.
//!
//! The kernel need not track connections in bridges: the configuration has no guests.
use crate::netns::Netns;
use crate::node::{Node, copy_program, wait_for};
use crate::paused_tools::PausedTools;
use crate::wait::{OutputInTime, WaitInTime, repeat_during};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::model::BackendKind;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const OPTIONS: &str = "[OPTIONS]\nenable: 1\n";
const PORT: &str = "10.9.0.1:4242";

/// A node with a second namespace that sends packets to it.
pub struct NodeWithSender {
    pub node: Node,
    pub outside: Netns,
}

impl NodeWithSender {
    pub fn new(name: &str) -> Self {
        let node = Node::without_files(name);
        node.write(".vmlist", r#"{"version":1}"#);
        node.write("firewall/cluster.fw", OPTIONS);
        let program = node.path("usr/libexec/proxmox/proxmox-firewall");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        copy_program(Path::new(env!("CARGO_BIN_EXE_proxmox-firewall")), &program);
        let outside = Netns::new(name);
        node.netns.exec(&format!(
            "ip link add uplink type veth peer name far netns {}; ip address add 10.9.0.1/24 dev uplink; ip link set uplink up",
            outside.name()
        ));
        outside.exec("ip address add 10.9.0.2/24 dev far; ip link set far up");
        NodeWithSender { node, outside }
    }

    fn nftables(&self, args: &[&str]) -> Command {
        let program = self.node.path("usr/libexec/proxmox/proxmox-firewall");
        let mut command = self.node.netns.command(program.to_str().unwrap());
        command.args(args).arg("--root").arg(self.node.path("")).args(["--node", "n1"]);
        command
    }

    pub fn start_nftables(&self, options: &[&str]) -> Child {
        let args = [&["start"], options].concat();
        let child = self.nftables(&args).env("PVE_LOG", "info").spawn().unwrap();
        let status = self.node.path("run/proxmox-firewall/status.json");
        wait_for("the first update", || status.exists().then_some(()));
        child
    }

    pub fn select(&self, nftables: u8) {
        self.node.write("nodes/n1/host.fw", &format!("[OPTIONS]\nnftables: {nftables}\n"));
    }

    fn tables(&self) -> String {
        self.node.netns.exec("nft list tables | grep proxmox || true")
    }

    fn has_chains(&self) -> bool {
        self.node.rules().contains("PVEFW-INPUT")
    }

    /// Whether bridges pass packets to iptables.
    fn bridge_filtering_is_on(&self) -> bool {
        self.node.netns.exec("cat /proc/sys/net/bridge/bridge-nf-call-iptables").trim() == "1"
    }

    pub fn wait_for_backend(&self, nftables: bool) {
        let there = || (!self.tables().is_empty(), self.has_chains());
        wait_for("the rules of one backend only", || (there() == (nftables, !nftables)).then_some(()));
    }

    /// Sends packets to a closed port of the node during some work; how many have arrived.
    pub fn count_arrivals_during(&self, work: impl FnOnce()) -> usize {
        // a forked child of another test holds an earlier socket until it executes its program
        let receiver = wait_for("the port", || self.node.netns.run(|| UdpSocket::bind(PORT).ok()));
        receiver.set_nonblocking(true).unwrap();
        let sender = self.outside.run(|| UdpSocket::bind("10.9.0.2:0").unwrap());
        let arrived = AtomicUsize::new(0);
        let look = || {
            // an ICMP error from the node is not a failure
            let _ = sender.send_to(b"x", PORT);
            sleep(Duration::from_micros(200));
            let mut buffer = [0; 8];
            while receiver.recv(&mut buffer).is_ok() {
                arrived.fetch_add(1, Ordering::Relaxed);
            }
        };
        let sent = repeat_during(look, work);
        assert!(sent > 100, "only {sent} packets were sent");
        arrived.into_inner()
    }
}

#[test]
fn bridges_pass_packets_to_iptables_only_while_it_enforces() {
    let nodes = NodeWithSender::new("ho-bridge");
    let (iptables, nftables) = (nodes.node.start(), nodes.start_nftables(&[]));
    nodes.wait_for_backend(false);
    for _ in 0..2 {
        assert!(nodes.bridge_filtering_is_on());
        nodes.select(1);
        nodes.wait_for_backend(true);
        wait_for("bridges that do not pass packets to iptables", || (!nodes.bridge_filtering_is_on()).then_some(()));
        // the daemon of iptables looks at this switch about once a second
        let (began, mut passed) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(3) {
            passed += usize::from(nodes.bridge_filtering_is_on());
            sleep(Duration::from_millis(20));
        }
        assert_eq!(passed, 0, "{:#?}", nodes.node.log());
        nodes.select(0);
        nodes.wait_for_backend(false);
    }
    terminate(iptables);
    terminate(nftables);
}

pub fn terminate(mut child: Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait_in_time().success());
}

#[test]
fn no_packet_passes_while_the_backends_are_switched() {
    let nodes = NodeWithSender::new("ho-both");
    let (iptables, nftables) = (nodes.node.start(), nodes.start_nftables(&[]));
    nodes.wait_for_backend(false);
    for round in 0..3 {
        let arrived = nodes.count_arrivals_during(|| {
            nodes.select(1);
            nodes.wait_for_backend(true);
            nodes.select(0);
            nodes.wait_for_backend(false);
        });
        assert_eq!(arrived, 0, "round {round}: {:#?}", nodes.node.log());
    }
    // the port is open where the firewall is off
    nodes.node.write("firewall/cluster.fw", "[OPTIONS]\nenable: 0\n");
    wait_for("the removal of the rules", || (!nodes.has_chains()).then_some(()));
    let arrived = nodes.count_arrivals_during(|| sleep(Duration::from_millis(300)));
    assert!(arrived > 100, "{arrived}");
    terminate(iptables);
    terminate(nftables);
}

/// The other daemon is stopped for a moment, so that the state lasts until it is seen.
#[test]
fn rules_of_both_backends_during_a_hand_over_are_no_warning() {
    let nodes = NodeWithSender::new("ho-status");
    let (iptables, nftables) = (nodes.node.start(), nodes.start_nftables(&[]));
    nodes.wait_for_backend(false);
    let signal = |daemon: &Child, signal| kill(Pid::from_raw(daemon.id().try_into().unwrap()), signal).unwrap();
    let status = |kind, option| {
        let args = ["status", option];
        let output = match kind {
            BackendKind::Iptables => nodes.node.run(&args),
            BackendKind::Nftables => nodes.nftables(&args).output_in_time(),
        };
        String::from_utf8(output.stdout).unwrap()
    };
    for (withdrawing, kind, selected, rules) in [
        (&iptables, BackendKind::Nftables, 1, "the chains of pve-firewall"),
        (&nftables, BackendKind::Iptables, 0, "the tables of proxmox-firewall"),
    ] {
        signal(withdrawing, Signal::SIGSTOP);
        nodes.select(selected);
        let line = format!("\nHand-over: {rules} are also in force until it removes them\n");
        wait_for("the line of status", || status(kind, "--verbose").contains(&line).then_some(()));
        let json: serde_json::Value = serde_json::from_str(&status(kind, "--json")).unwrap();
        let both = |one: &serde_json::Value| one["kind"] == "both-backends";
        assert!(!json["warnings"].as_array().unwrap().iter().any(both), "{json:#}");
        signal(withdrawing, Signal::SIGCONT);
        nodes.wait_for_backend(selected == 1);
        wait_for("the end of the hand-over", || (!status(kind, "--verbose").contains("Hand-over:")).then_some(()));
    }
    let warnings =
        nodes.node.log().into_iter().filter(|line| line.contains("also in force") && !line.contains("until"));
    assert_eq!(warnings.collect::<Vec<_>>(), [""; 0]);
    terminate(iptables);
    terminate(nftables);
}

#[test]
fn a_daemon_removes_its_rules_only_when_those_of_the_other_are_live() {
    let nodes = NodeWithSender::new("ho-alone");
    nodes.select(1);
    // proxmox-firewall is installed, but not running
    let iptables = nodes.node.start();
    assert!(nodes.has_chains());
    nodes.node.wait_for_log("waiting for proxmox-firewall");
    // tables that are still empty
    nodes.node.netns.exec("nft 'add table bridge proxmox-firewall-guests; add table inet proxmox-firewall'");
    sleep(Duration::from_secs(1));
    assert!(nodes.has_chains());
    nodes
        .node
        .netns
        .exec("nft 'add chain inet proxmox-firewall cluster-in; add rule inet proxmox-firewall cluster-in drop'");
    wait_for("the removal of the chains", || (!nodes.has_chains()).then_some(()));
    // the other way round: pve-firewall is stopped when iptables is selected again, so the tables stay
    terminate(iptables);
    nodes.node.netns.exec("nft 'delete table bridge proxmox-firewall-guests; delete table inet proxmox-firewall'");
    let nftables = nodes.start_nftables(&[]);
    assert!(nodes.tables().contains("inet proxmox-firewall"));
    nodes.select(0);
    nodes.node.wait_for_log("waiting for pve-firewall");
    assert!(nodes.tables().contains("inet proxmox-firewall"));
    let status = |args: &[&str]| String::from_utf8(nodes.nftables(args).output_in_time().stdout).unwrap();
    let finding =
        "host.fw does not have nftables: 1, but the chains of pve-firewall are not live: this firewall continues";
    wait_for("the warning", || status(&["status"]).contains(&format!("WARNING: {finding}")).then_some(()));
    let verbose = status(&["status", "--verbose"]);
    assert!(
        verbose.contains("\n  since: ") && verbose.contains("remedy: 'systemctl status pve-firewall'"),
        "{verbose}"
    );
    assert!(
        verbose.contains("iptables (pve-firewall), which is not live: the rules of this program stay"),
        "{verbose}"
    );
    let iptables = nodes.node.start();
    nodes.wait_for_backend(false);
    terminate(nftables);
    terminate(iptables);
    assert!(nodes.tables().is_empty() && !nodes.has_chains());
}

#[test]
fn an_idle_daemon_of_nftables_runs_no_tool_of_iptables() {
    let node = Node::with_backend(BackendKind::Nftables, "ho-idle");
    let paused = PausedTools::new(&node);
    let daemon = paused.start_daemon();
    let update = || node.status().map(|status| status["updated"].clone());
    let another = || {
        let before = update();
        wait_for("another update", || (update() != before).then_some(()));
    };
    another();
    paused.pause_at(usize::MAX >> 1);
    another();
    another();
    // where the kernel tracks no connections in bridges, refused rules are tried again with nft
    let tools = paused.tools();
    assert!(tools.iter().all(|tool| tool == "nft"), "{tools:?}");
    node.accept(23);
    node.wait_until_accepted(23);
    assert!(paused.runs() > tools.len());
    terminate(daemon);
}

/// Loads the output of `compile` in another namespace: the node's table is the same as the daemon's.
fn loads_as_json(nodes: &NodeWithSender, compiled: &str) {
    let mut document: serde_json::Value = serde_json::from_str(compiled).unwrap();
    // not all kernels have connection tracking in bridges
    document["nftables"].as_array_mut().unwrap().retain(|command| !command.to_string().contains("\"bridge\""));
    let file = nodes.node.path("compiled.json");
    fs::write(&file, document.to_string()).unwrap();
    let other = Netns::new("ho-json");
    other.exec(&format!("nft -j -f {}", file.display()));
    let list = "nft -s list table inet proxmox-firewall";
    assert_eq!(other.exec(list), nodes.node.netns.exec(list));
}

#[test]
fn the_nftables_daemon_keeps_its_tables_when_it_is_restarted_and_deletes_them_when_it_is_stopped() {
    let nodes = NodeWithSender::new("ho-life");
    nodes.select(1);
    let daemon = nodes.start_nftables(&[]);
    assert!(
        nodes.tables().contains("inet proxmox-firewall") && nodes.tables().contains("bridge proxmox-firewall-guests")
    );
    let status = |args: &[&str]| {
        let output = nodes.nftables(args).output_in_time();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(status(&["status"]).starts_with("Status: enabled/running"));
    loads_as_json(&nodes, &status(&["compile"]));
    let handles = || nodes.node.netns.exec("nft -a list table inet proxmox-firewall");
    let before = handles();
    let started = || fs::read_to_string(nodes.node.path("run/proxmox-firewall/status.json")).unwrap_or_default();
    let first = started();
    let arrived = nodes.count_arrivals_during(|| {
        kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
        wait_for("the daemon to re-execute itself", || (started() != first && !started().is_empty()).then_some(()));
    });
    assert_eq!((arrived, handles() == before), (0, true));
    // another program's change of a chain is reverted, and its own table is not changed
    nodes.node.netns.exec("nft 'add table inet other; flush chain inet proxmox-firewall cluster-in'");
    wait_for("the restored chain", || {
        nodes.node.netns.exec("nft list chain inet proxmox-firewall cluster-in").contains("drop").then_some(())
    });
    assert!(nodes.node.netns.exec("nft list tables").contains("inet other"));
    terminate(daemon);
    assert_eq!(nodes.tables(), "");
    // the flag file disables it
    fs::write(nodes.node.path("run/proxmox-nftables-firewall-force-disable"), "").unwrap();
    let daemon = nodes.start_nftables(&[]);
    assert_eq!(nodes.tables(), "");
    terminate(daemon);
}
