//! Trials, previews and deleted connections on a node with the nftables backend. There are rules for the node only, because not
//! every kernel tracks connections in bridges.
use super::super::hand_over::{NodeWithSender, terminate};
use super::{assert_exit, candidate, start_trial, trial_seconds};
use crate::node::wait_for;
use crate::wait::wait_for_ok;
use crate::wait::{WaitInTime, repeat_during};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
const CLOSED: &str = "[OPTIONS]\nenable: 1\n";

/// A configuration that accepts connections to these ports of the node.
fn open(ports: &str) -> String {
    format!("{CLOSED}[RULES]\nIN ACCEPT -p tcp -dport {ports}\n")
}

/// A node that selects nftables, with both daemons.
fn node_with_both_daemons(name: &str, options: &[&str], cluster: &str) -> (NodeWithSender, [Child; 2]) {
    let nodes = NodeWithSender::new(name);
    nodes.node.write("firewall/cluster.fw", cluster);
    nodes.select(1);
    let daemons = [nodes.node.start(), nodes.start_nftables(options)];
    nodes.wait_for_backend(true);
    (nodes, daemons)
}

fn rules(nodes: &NodeWithSender) -> String {
    nodes.node.netns.exec("nft list table inet proxmox-firewall")
}

fn wait_for_rule(nodes: &NodeWithSender, rule: &str, live: bool) {
    wait_for(&format!("{rule} to be live: {live}"), || (rules(nodes).contains(rule) == live).then_some(()));
}

#[test]
fn a_trial_of_rules_for_nftables_expires_and_is_reverted_and_confirmed() {
    let (nodes, daemons) = node_with_both_daemons("pvn-try", &[], CLOSED);
    let node = &nodes.node;
    candidate(node, "cluster.fw", &open("4001"));
    let server = SocketAddr::from(([10, 9, 0, 1], 4001));
    let _listener = node.netns.run(|| TcpListener::bind(server).unwrap());
    let connects = || nodes.outside.run(|| TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)).is_ok();
    assert!(!connects());
    let length = trial_seconds(node, 6);
    let began = Instant::now();
    let first = start_trial(node, length, &["cluster.fw"]);
    wait_for_rule(&nodes, "4001", true);
    assert!(connects(), "{:?}", began.elapsed());
    wait_for("the trial in the status", || node.run_ok(&["status"]).contains("Trial: cluster.fw, ").then_some(()));
    assert_exit(first, 3);
    assert!(began.elapsed() >= Duration::from_secs(length));
    wait_for_rule(&nodes, "4001", false);
    assert!(!connects());
    for program in ["pve-firewall", "proxmox-firewall"] {
        let line = "trial of cluster.fw: reverted: it was not confirmed in time";
        wait_for(program, || node.log().iter().any(|one| one.contains(program) && one.contains(line)).then_some(()));
    }

    let second = start_trial(node, 600, &["cluster.fw"]);
    wait_for_rule(&nodes, "4001", true);
    assert_eq!(node.run_ok(&["revert"]), "Reverted: cluster.fw\n");
    assert!(!rules(&nodes).contains("4001"), "the command waits for the rules");
    assert_exit(second, 3);

    // whichever daemon accepts the confirmed files first, the other one follows it
    for round in 0..4 {
        node.write("firewall/cluster.fw", CLOSED);
        wait_for_rule(&nodes, "4001", false);
        let third = start_trial(node, 600, &["cluster.fw"]);
        wait_for_rule(&nodes, "4001", true);
        let checks = repeat_during(
            || assert!(rules(&nodes).contains("4001"), "the old rules were live in round {round}"),
            || {
                node.run_ok(&["confirm"]);
                assert_exit(third, 0);
                std::thread::sleep(Duration::from_secs(2));
            },
        );
        assert!(checks > 10);
        assert_eq!(fs::read_to_string(node.config().join("firewall/cluster.fw")).unwrap(), open("4001"));
    }
    assert_eq!(node.logged("trial of cluster.fw: confirmed"), 8, "{:#?}", node.log());
    daemons.into_iter().for_each(terminate);
}

#[test]
fn a_trial_of_a_vnet_expires_and_is_reverted_and_confirmed() {
    let (nodes, daemons) = node_with_both_daemons("pvn-vnet", &[], CLOSED);
    let node = &nodes.node;
    node.write("sdn/.running-config", r#"{"vnets":{"ids":{"vnet0":{"zone":"z"}}}}"#);
    let vnet = |port: &str| {
        format!("[OPTIONS]\nenable: 1\npolicy_forward: DROP\n[RULES]\nFORWARD ACCEPT -p tcp -dport {port}\n")
    };
    let live = |port: &str, live| {
        wait_for(port, || (node.netns.exec("nft list ruleset").contains(port) == live).then_some(()));
    };
    let in_tree = || fs::read_to_string(node.config().join("sdn/firewall/vnet0.fw"));
    // a file with the name of the vnet, and one with its path
    let file = candidate(node, "vnet0.fw", &vnet("4001"));
    candidate(node, "sdn/firewall/vnet0.fw", &vnet("4002"));
    let preview = node.run_ok(&["preview", "--diff", &file]);
    assert!(preview.contains("4001"), "{preview}");
    let first = start_trial(node, trial_seconds(node, 6), &["vnet0.fw"]);
    live("4001", true);
    wait_for("the trial in the status", || node.run_ok(&["status"]).contains("Trial: vnet0.fw, ").then_some(()));
    assert_exit(first, 3);
    live("4001", false);
    assert!(in_tree().is_err());
    let second = start_trial(node, 600, &["sdn/firewall/vnet0.fw"]);
    live("4002", true);
    assert_eq!(node.run_ok(&["revert"]), "Reverted: vnet0.fw\n");
    assert_exit(second, 3);
    live("4002", false);
    let third = start_trial(node, 600, &["vnet0.fw"]);
    live("4001", true);
    node.run_ok(&["confirm"]);
    assert_exit(third, 0);
    assert_eq!(in_tree().unwrap(), vnet("4001"));
    live("4001", true);
    // a change of the file ends the trial
    let fourth = start_trial(node, 600, &["sdn/firewall/vnet0.fw"]);
    live("4002", true);
    std::thread::sleep(Duration::from_secs(4));
    node.write("sdn/firewall/vnet0.fw", &vnet("4003"));
    assert_exit(fourth, 3);
    live("4003", true);
    live("4002", false);
    daemons.into_iter().for_each(terminate);
}

#[test]
fn a_trial_needs_the_daemon_of_the_selected_backend() {
    let nodes = NodeWithSender::new("pvn-alone");
    nodes.select(1);
    let iptables = nodes.node.start();
    let file = candidate(&nodes.node, "cluster.fw", &open("4001"));
    let error = nodes.node.run_failing(&["try", &file]);
    assert!(error.contains("the daemon proxmox-firewall is not running"), "{error}");
    let nftables = nodes.start_nftables(&[]);
    nodes.wait_for_backend(true);
    terminate(iptables);
    // the daemon of the other backend is sufficient
    let trial = start_trial(&nodes.node, 600, &["cluster.fw"]);
    wait_for_rule(&nodes, "4001", true);
    nodes.node.run_ok(&["confirm"]);
    assert_exit(trial, 0);
    assert!(rules(&nodes).contains("4001"));
    // a kill neither ends nor prolongs a trial
    candidate(&nodes.node, "cluster.fw", &open("4002"));
    let length = trial_seconds(&nodes.node, 10);
    let (began, trial) = (Instant::now(), start_trial(&nodes.node, length, &["cluster.fw"]));
    wait_for_rule(&nodes, "4002", true);
    let mut nftables = nftables;
    kill(Pid::from_raw(nftables.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    nftables.wait_in_time();
    assert!(rules(&nodes).contains("4002"));
    let nftables = nodes.start_nftables(&[]);
    assert!(began.elapsed() < Duration::from_secs(length), "the machine is too busy for this test");
    assert!(rules(&nodes).contains("4002"));
    assert_exit(trial, 3);
    assert!(began.elapsed() >= Duration::from_secs(length));
    wait_for_rule(&nodes, "4001", true);
    terminate(nftables);
}

#[test]
fn no_packet_passes_during_a_trial_of_the_other_backend() {
    let nodes = NodeWithSender::new("pvn-switch");
    let daemons = [nodes.node.start(), nodes.start_nftables(&[])];
    nodes.wait_for_backend(false);
    let file = candidate(&nodes.node, "host.fw", "[OPTIONS]\nnftables: 1\n");
    let preview: serde_json::Value = serde_json::from_str(&nodes.node.run_ok(&["preview", "--json", &file])).unwrap();
    assert!(preview["warnings"][0].as_str().unwrap().contains("selects the other backend, nftables"), "{preview:#}");
    let changes: BTreeSet<(&str, &str)> = preview["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["action"].as_str().unwrap(), change["part"].as_str().unwrap()))
        .collect();
    for change in [("create", "inet proxmox-firewall"), ("create", "bridge proxmox-firewall-guests")] {
        assert!(changes.contains(&change), "{changes:?}");
    }
    for change in [("delete", "ip4 filter"), ("delete", "ip6 filter")] {
        assert!(changes.contains(&change), "{changes:?}");
    }
    let arrived = nodes.count_arrivals_during(|| {
        let trial = start_trial(&nodes.node, 5, &["host.fw"]);
        nodes.wait_for_backend(true);
        assert_exit(trial, 3);
        nodes.wait_for_backend(false);
    });
    assert_eq!(arrived, 0, "{:#?}", nodes.node.log());
    daemons.into_iter().for_each(terminate);
}

/// A connection from outside to a port of the node, and its other end.
struct Connection(TcpStream, TcpStream);

impl Connection {
    fn can_exchange_data(&mut self) -> bool {
        let mut received = [0; 4];
        self.0.write_all(b"ping").is_ok() && self.1.read_exact(&mut received).is_ok()
    }
}

/// The address of a port of the node.
fn server(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 0, 1], port))
}

/// A connection from outside to a port of the node, if it is accepted.
fn connect(nodes: &NodeWithSender, port: u16) -> Option<TcpStream> {
    nodes.outside.run(|| TcpStream::connect_timeout(&server(port), CONNECT_TIMEOUT)).ok()
}

/// Connections from outside to ports of the node.
fn connections(nodes: &NodeWithSender, ports: &[u16]) -> Vec<Connection> {
    let connection = |port: &u16| {
        let listener = nodes.node.netns.run(|| TcpListener::bind(server(*port)).unwrap());
        let client = connect(nodes, *port).unwrap();
        let (peer, _) = listener.accept().unwrap();
        for end in [&client, &peer] {
            end.set_read_timeout(Some(CONNECT_TIMEOUT)).unwrap();
        }
        Connection(client, peer)
    };
    ports.iter().map(connection).collect()
}

/// While a hand-over waits for the other daemon, the rules stay, and a change of them ends connections as ever. Neither does it
/// when it is cancelled: what was refused all along is not what a change refuses.
#[test]
fn a_cancelled_hand_over_deletes_only_connections_that_a_change_refuses() {
    let nodes = NodeWithSender::new("pvn-cancel");
    nodes.node.write("firewall/cluster.fw", &open("4003"));
    nodes.select(1);
    let mut daemon = nodes.start_nftables(&["--cut-connections"]);
    let mut earlier = connections(&nodes, &[4003]);
    // the rules of an earlier process are unknown: connections that they have accepted continue
    kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    daemon.wait_in_time();
    fs::remove_file(nodes.node.path("run/proxmox-firewall/status.json")).unwrap();
    nodes.node.write("firewall/cluster.fw", &open("4000:4002"));
    // pve-firewall is not running, so the hand-over waits
    let daemon = nodes.start_nftables(&["--cut-connections"]);
    wait_for_rule(&nodes, "4000-4002", true);
    let mut accepted = connections(&nodes, &[4000, 4001, 4002]);
    let all_alive = |all: &mut [Connection]| all.iter_mut().map(Connection::can_exchange_data).collect::<Vec<_>>();
    assert_eq!(all_alive(&mut earlier), [true], "it is established");
    nodes.select(0);
    nodes.node.wait_for_log("waiting for pve-firewall");
    nodes.node.write("firewall/cluster.fw", &open("4001"));
    wait_for_ok("the deletion of refused connections", || {
        let alive = all_alive(&mut accepted);
        (alive == [false, true, false]).then_some(()).ok_or_else(|| format!("{alive:?} {:#?}", nodes.node.log()))
    });
    nodes.select(1);
    nodes.node.wait_for_log("no longer: the rules are kept until its chains are live: waiting for pve-firewall");
    // the update that cancelled it has also checked the connections
    nodes.node.write("firewall/cluster.fw", &open("4001,4005"));
    wait_for_rule(&nodes, "4005", true);
    assert_eq!(
        (all_alive(&mut earlier), all_alive(&mut accepted[1..2])),
        (vec![true], vec![true]),
        "{:#?}",
        nodes.node.log()
    );
    assert_eq!(nodes.node.logged("is no longer allowed (DROP by "), 2, "{:#?}", nodes.node.log());
    terminate(daemon);
}

#[test]
fn connections_that_a_preview_lists_are_refused_and_deleted_and_no_others() {
    let (nodes, daemons) = node_with_both_daemons("pvn-cut", &["--cut-connections"], &open("4000:4002"));
    let mut connections = connections(&nodes, &[4000, 4001, 4002]);
    let file = candidate(&nodes.node, "cluster.fw", &open("4001"));
    let output = nodes.node.run(&["preview", "--json", &file]);
    let preview: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let refused = preview["connections"]["refused"].as_array().unwrap();
    let named: BTreeSet<&str> = refused.iter().map(|one| one["connection"].as_str().unwrap()).collect();
    let expected = [0, 2].map(|at| {
        let Connection(client, _) = &connections[at];
        format!("tcp {} -> {}", client.local_addr().unwrap(), client.peer_addr().unwrap())
    });
    assert_eq!(named, expected.iter().map(String::as_str).collect(), "{preview:#}");

    nodes.node.write("firewall/cluster.fw", &open("4001"));
    let mut all_alive = || connections.iter_mut().map(Connection::can_exchange_data).collect::<Vec<_>>();
    wait_for_ok("the deletion of refused connections", || {
        let alive = all_alive();
        let tracked = || nodes.node.netns.exec("conntrack -L 2>/dev/null");
        (alive == [false, true, false])
            .then_some(())
            .ok_or_else(|| format!("{alive:?} {:#?} {} {}", nodes.node.log(), tracked(), rules(&nodes)))
    });
    let _listener = nodes.node.netns.run(|| TcpListener::bind(server(4001)).unwrap());
    assert_eq!([4000, 4001, 4002].map(|port| connect(&nodes, port).is_some()), [false, true, false]);
    let log = nodes.node.log();
    assert_eq!(log.iter().filter(|line| line.contains("is no longer allowed (DROP by ")).count(), 2, "{log:#?}");
    daemons.into_iter().for_each(terminate);
}
