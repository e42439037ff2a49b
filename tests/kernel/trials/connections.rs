//! The connections that `preview` lists, compared with the kernel: connections are opened and the change is applied. Those that
//! were listed, and no others, are refused when they are opened again.
use super::super::scenarios::scenario::{CLUSTER, GUEST100, GUEST200, HOST, Scenario};
use crate::node::wait_for;
use crate::testbed::Endpoint::{self, Host, Outside};
use crate::testbed::{CT200, NODE, VM100, VM101};
use crate::wait::{OutputInTime, run_in_parallel};
use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

/// A packet that passes takes less than this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// The request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    from: Endpoint,
    to: Endpoint,
    port: u16,
    v6: bool,
}

/// The endpoints of a connection.
const FLOWS: [(Endpoint, Endpoint, u16); 9] = [
    (Outside, Host, 22),
    (Outside, Host, 8006),
    (Outside, VM100, 80),
    (Outside, VM100, 443),
    (VM101, VM100, 80),
    (CT200, Outside, 25),
    (Host, Outside, 25),
    (Host, VM100, 80),
    (VM101, Host, 22),
];

const BASE: [(&str, &str); 4] = [
    (
        CLUSTER,
        "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 22,8006\n[group web]\nIN ACCEPT -p tcp -dport 80\n",
    ),
    (GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nGROUP web\nIN ACCEPT -p tcp -dport 443\n"),
    (GUEST200, "[OPTIONS]\nenable: 1\n"),
    (HOST, "[OPTIONS]\nenable: 1\n"),
];

/// Changes of one file, each of which refuses some of the connections.
const CHANGES: [(&str, &str, usize); 7] = [
    (
        CLUSTER,
        "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -p tcp -dport 22\nIN ACCEPT -p tcp -dport 8006\n[group web]\nIN ACCEPT -p tcp -dport 80\n",
        4,
    ),
    (
        CLUSTER,
        "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 22,8006\n[group web]\nIN ACCEPT -p tcp -dport 80 -source 10.0.0.0/24\n",
        3,
    ),
    (
        CLUSTER,
        "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 22,8006\n[group web]\nIN ACCEPT -p tcp -dport 80\n[IPSET blacklist]\n10.0.0.254\n",
        4,
    ),
    (GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nGROUP web\n", 2),
    (GUEST200, "[OPTIONS]\nenable: 1\n[RULES]\nOUT REJECT -p tcp -dport 25 -dest 10.0.0.254\n", 1),
    (HOST, "[OPTIONS]\nenable: 1\n[RULES]\nOUT DROP -p tcp -dport 25\n", 2),
    (GUEST100, "[OPTIONS]\nenable: 1\nmacfilter: 0\n[RULES]\nGROUP web\nIN ACCEPT -p tcp -dport 443\n", 0),
];

impl Flow {
    fn all() -> Vec<Flow> {
        let both = |(from, to, port)| [false, true].map(|v6| Flow { from, to, port, v6 });
        FLOWS.into_iter().flat_map(both).collect()
    }

    fn server(self) -> SocketAddr {
        SocketAddr::new(self.to.addresses()[usize::from(self.v6)], self.port)
    }

    /// Opens the connection, if it is accepted.
    fn connect(self, scenario: &Scenario) -> Option<TcpStream> {
        scenario.testbed.netns(self.from).run(|| TcpStream::connect_timeout(&self.server(), CONNECT_TIMEOUT)).ok()
    }
}

pub fn write(root: &Path, path: &str, text: &str) -> String {
    let path = root.join("root").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

pub fn run(scenario: &Scenario, args: &[&str]) -> Output {
    let mut command = scenario.testbed.node.command(env!("CARGO_BIN_EXE_pve-firewall"));
    command.args(args).args(["--node", NODE, "--root"]).arg(scenario.root()).output_in_time()
}

fn preview(scenario: &Scenario, file: &str) -> serde_json::Value {
    let output = run(scenario, &["preview", "--json", file]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Which of these connections can be opened; all at the same time.
fn connect_all(scenario: &Scenario, flows: &[Flow]) -> Vec<(Flow, Option<TcpStream>)> {
    run_in_parallel("connections to open", flows.iter().map(|flow| move || (*flow, flow.connect(scenario))))
}

#[test]
fn connections_that_a_preview_lists_and_no_others_are_refused_when_they_restart() {
    let scenario = Scenario::new(&BASE);
    scenario.testbed.assign_addresses();
    let flows = Flow::all();
    let servers: BTreeSet<(Endpoint, SocketAddr)> = flows.iter().map(|flow| (flow.to, flow.server())).collect();
    let _servers: Vec<TcpListener> = servers
        .iter()
        .map(|(endpoint, server)| scenario.testbed.netns(*endpoint).run(|| TcpListener::bind(server).unwrap()))
        .collect();
    for (path, text, count) in CHANGES {
        scenario.testbed.node.exec("conntrack -F 2>/dev/null");
        let alive = connect_all(&scenario, &flows);
        for (flow, stream) in &alive {
            assert!(stream.is_some(), "{flow:?}");
        }
        let file = write(scenario.root(), path, text);
        let report = preview(&scenario, &file);
        let refused = report["connections"]["refused"].as_array().unwrap();
        let named: BTreeSet<String> =
            refused.iter().map(|one| one["connection"].as_str().unwrap().to_string()).collect();
        scenario.change(&[(path, text)]);
        let mut wrong = Vec::new();
        let mut really = 0;
        for (flow, again) in connect_all(&scenario, &flows) {
            let first = alive.iter().find(|(other, _)| *other == flow).unwrap().1.as_ref().unwrap();
            let was_named = named.contains(&format!("tcp {} -> {}", first.local_addr().unwrap(), flow.server()));
            really += usize::from(again.is_none());
            if was_named == again.is_some() {
                wrong.push((flow, was_named));
            }
        }
        assert!(wrong.is_empty(), "{path} {text}: {wrong:?} {report:#}");
        assert_eq!((named.len(), really), (count, count), "{path} {text}: {report:#}");
        for one in refused {
            let origin = one["origin"].as_str().unwrap();
            assert!(origin.starts_with(&file) || !origin.contains(".fw:"), "{origin}");
        }
        let base: Vec<_> = BASE.iter().filter(|(other, _)| *other == path).copied().collect();
        scenario.change(&base);
    }
}

#[test]
fn connections_that_cannot_be_simulated_are_counted() {
    let scenario = Scenario::new(&BASE);
    scenario.testbed.node.exec(
        "conntrack -I -p tcp -s 192.0.2.1 -d 192.0.2.2 --sport 1000 --dport 80 --state ESTABLISHED -t 600 -u SEEN_REPLY
         conntrack -I -p udp -s 10.0.0.254 -d 10.0.0.255 --sport 1000 --dport 137 -t 600
         conntrack -I -p tcp -s 10.0.0.100 -d 192.0.2.2 --sport 1000 --dport 80 --state ESTABLISHED -t 600 -r 10.0.0.50 \
            -q 10.0.0.100 --reply-port-src 80 --reply-port-dst 1000
         conntrack -I -p tcp -s 10.0.0.254 -d 10.0.0.1 --sport 1000 --dport 22 --state ESTABLISHED -t 600 -w 5 -u SEEN_REPLY
         conntrack -I -p tcp -s 10.0.0.254 -d 10.0.0.1 --sport 1001 --dport 22 --state TIME_WAIT -t 600 -u SEEN_REPLY",
    );
    let file = write(scenario.root(), CLUSTER, CHANGES[0].1);
    let report = preview(&scenario, &file);
    let refused = report["connections"]["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "what is over is not alive: {report:#}");
    assert_eq!((&refused[0]["zone"], &refused[0]["own_session"]), (&5.into(), &false.into()));
    let not_judged = report["connections"]["not_judged"].as_object().unwrap();
    for (reason, count) in [("not known to be the node's", 1), ("multicast and broadcast", 1), ("translated", 1)] {
        let found = not_judged.iter().find(|(why, _)| why.contains(reason));
        assert_eq!(found.map(|(_, count)| count.as_u64()), Some(Some(count)), "{reason}: {report:#}");
    }
}

#[test]
fn udp_and_icmp_are_evaluated_like_tcp() {
    let scenario = Scenario::new(&[
        (CLUSTER, "[OPTIONS]\nenable: 1\n"),
        (GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p udp -dport 53\nIN Ping(ACCEPT)\n"),
    ]);
    scenario.testbed.assign_addresses();
    let server = scenario.testbed.netns(VM100).run(|| UdpSocket::bind("10.0.0.100:53").unwrap());
    let client = scenario.testbed.outside.run(|| UdpSocket::bind("10.0.0.254:5353").unwrap());
    client.send_to(b"question", "10.0.0.100:53").unwrap();
    wait_for("the request", || server.recv_from(&mut [0; 64]).ok());
    scenario.testbed.node.exec(
        "conntrack -I -p icmp -s 10.0.0.254 -d 10.0.0.100 --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 600 -u SEEN_REPLY",
    );
    let file = write(scenario.root(), GUEST100, "[OPTIONS]\nenable: 1\n");
    let report = preview(&scenario, &file);
    let refused = report["connections"]["refused"].as_array().unwrap();
    let named: Vec<&str> = refused.iter().map(|one| one["connection"].as_str().unwrap()).collect();
    assert_eq!(named, ["icmp type 8/0 10.0.0.254 -> 10.0.0.100", "udp 10.0.0.254:5353 -> 10.0.0.100:53"]);
    assert!(refused.iter().all(|one| one["guest"] == 100 && one["action"] == "DROP"), "{report:#}");
}
