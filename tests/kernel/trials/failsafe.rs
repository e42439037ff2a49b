//! `--failsafe` and `--cut-connections`, shown by connections on the test bed.
use super::super::scenarios::scenario::{CLUSTER, GUEST100, HOST, ON, Scenario};
use super::connections::{run, write};
use crate::node::wait_for;
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::{VM100, VM101};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CLOSED: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP\nOUT DROP\n";

fn listen(scenario: &Scenario, endpoint: crate::testbed::Endpoint, server: &str) -> TcpListener {
    scenario.testbed.netns(endpoint).run(|| TcpListener::bind(server).unwrap())
}

fn connect(scenario: &Scenario, endpoint: crate::testbed::Endpoint, server: &str) -> Option<TcpStream> {
    let server: SocketAddr = server.parse().unwrap();
    scenario.testbed.netns(endpoint).run(|| TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)).ok()
}

#[test]
fn failsafe_ports_are_open_with_any_configuration() {
    let options = ["--failsafe", "tcp/22@10.0.0.254,tcp/8006:8007@fd00::/64"];
    let scenario = Scenario::with_options(&options, &[(HOST, ON)]);
    scenario.testbed.assign_addresses();
    let servers = ["10.0.0.1:22", "10.0.0.1:8006", "[fd00::1]:8006"];
    let _servers = servers.map(|server| listen(&scenario, Host, server));
    let out = listen(&scenario, Outside, "10.0.0.254:22");
    let chains = |scenario: &Scenario| {
        let saved = scenario.testbed.node.exec("iptables-legacy-save -t filter; ip6tables-legacy-save -t filter");
        saved.lines().filter(|line| line.starts_with("-A PVEFW") && !line.contains("FAILSAFE")).count()
    };
    let before = chains(&scenario);
    assert!(before > 0);
    for (path, text) in [(HOST, CLOSED), (CLUSTER, "[OPTIONS]\nenable: 1\n[IPSET blacklist]\n10.0.0.0/24\nfd00::/64\n")]
    {
        scenario.change(&[(path, text)]);
        assert!(connect(&scenario, Outside, "10.0.0.1:22").is_some(), "{text}");
        assert!(connect(&scenario, Outside, "[fd00::1]:8006").is_some(), "{text}");
        assert!(connect(&scenario, Outside, "10.0.0.1:8006").is_none(), "IPv4 has no opening for it: {text}");
        assert!(connect(&scenario, VM101, "10.0.0.1:22").is_none(), "another address: {text}");
        assert!(path == CLUSTER || connect(&scenario, Host, "10.0.0.254:22").is_none(), "out is not in: {text}");
        // the simulator agrees
        for (source, dport, action) in [
            ("10.0.0.254", "22", "ACCEPT"),
            ("10.0.0.101", "22", "DROP"),
            ("10.0.0.254", "8006", "DROP"),
            ("fd00::fe", "8007", "ACCEPT"),
        ] {
            let output = run(
                &scenario,
                &[
                    "simulate",
                    "--source",
                    source,
                    "--dest",
                    if source.contains(':') { "fd00::1" } else { "10.0.0.1" },
                    "--dport",
                    dport,
                    "--verbose",
                ],
            );
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.ends_with(&format!("ACTION: {action}\n")), "{source} {dport}: {text}");
            assert_eq!(text.contains("decided by: --failsafe tcp/"), action == "ACCEPT", "{text}");
        }
        scenario.change(&[(HOST, ON), (CLUSTER, ON)]);
    }
    drop(out);
    // `check` finds that there is still management access
    let file = write(scenario.root(), HOST, CLOSED);
    let found = String::from_utf8(run(&scenario, &["check", &file]).stdout).unwrap();
    assert!(!found.contains("port 22"), "{found}");
    let status = String::from_utf8(run(&scenario, &["status", "--verbose"]).stdout).unwrap();
    assert!(status.contains("Failsafe:      tcp/22@10.0.0.254/32,tcp/8006:8007@fd00::/64\n"), "{status}");
    // its jump is the first, and restored if it is deleted
    let first = "iptables-legacy-save -t filter | grep -E '^-A (INPUT|OUTPUT)'";
    let wanted =
        "-A INPUT -j PVEFW-FAILSAFE\n-A INPUT -j PVEFW-INPUT\n-A OUTPUT -j PVEFW-FAILSAFE\n-A OUTPUT -j PVEFW-OUTPUT\n";
    assert_eq!(scenario.testbed.node.exec(first), wanted);
    scenario.testbed.node.exec("iptables-legacy -D INPUT -j PVEFW-FAILSAFE; iptables-legacy -F PVEFW-FAILSAFE");
    wait_for("the jump", || (scenario.testbed.node.exec(first) == wanted).then_some(()));
    wait_for("the rules", || connect(&scenario, Outside, "10.0.0.1:22").map(drop));
    // and is removed with the other rules
    scenario.disable_firewall();
    assert!(!scenario.testbed.node.exec("iptables-legacy-save; ip6tables-legacy-save").contains("FAILSAFE"));
}

/// Both ends of a connection.
struct Connection(TcpStream, TcpStream);

impl Connection {
    fn open(scenario: &Scenario, from: crate::testbed::Endpoint, server: &TcpListener) -> Self {
        let address = server.local_addr().unwrap();
        let client =
            scenario.testbed.netns(from).run(|| TcpStream::connect_timeout(&address, Duration::from_secs(30))).unwrap();
        let (peer, _) = server.accept().unwrap();
        for end in [&client, &peer] {
            end.set_read_timeout(Some(CONNECT_TIMEOUT)).unwrap();
        }
        Connection(client, peer)
    }

    fn can_exchange_data(&mut self) -> bool {
        let mut received = [0; 4];
        self.0.write_all(b"ping").is_ok() && self.1.read_exact(&mut received).is_ok()
    }
}

#[test]
fn connections_that_a_change_refuses_are_deleted_and_no_others() {
    let open = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80,443\n";
    let scenario = Scenario::with_options(&["--cut-connections"], &[(HOST, ON), (GUEST100, open)]);
    scenario.testbed.assign_addresses();
    let servers = [
        listen(&scenario, VM100, "10.0.0.100:80"),
        listen(&scenario, VM100, "10.0.0.100:443"),
        listen(&scenario, VM100, "[fd00::100]:80"),
        listen(&scenario, Host, "10.0.0.1:22"),
    ];
    let mut connections: Vec<Connection> =
        servers.iter().map(|server| Connection::open(&scenario, Outside, server)).collect();
    let mut all_alive = || connections.iter_mut().map(Connection::can_exchange_data).collect::<Vec<_>>();
    assert_eq!(all_alive(), [true; 4]);
    // a change without effect on verdicts deletes no connection
    scenario.change(&[(GUEST100, &open.replace("80,443", "80,443,444"))]);
    assert_eq!(all_alive(), [true; 4]);
    scenario.change(&[(GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 443\n")]);
    wait_for("the deletion of refused connections", || (all_alive() == [false, true, false, true]).then_some(()));
    let log = scenario.log();
    let cut: Vec<_> = log.iter().filter(|line| line.contains("is no longer allowed")).collect();
    assert_eq!(cut.len(), 2, "{log:#?}");
    assert!(cut[0].contains("10.0.0.100:80 of guest 100 is no longer allowed (DROP by "), "{cut:#?}");
    // a blacklist ends the connections of its members
    scenario.change(&[(CLUSTER, "[OPTIONS]\nenable: 1\n[IPSET blacklist]\n10.0.0.254\n")]);
    wait_for("the deletion of refused connections", || (all_alive() == [false; 4]).then_some(()));
}

#[test]
fn a_flood_of_cut_connections_is_counted_and_not_logged_line_by_line() {
    let open = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\n";
    let scenario = Scenario::with_options(&["--cut-connections"], &[(GUEST100, open)]);
    let insert = "for port in $(seq 1000 1099); do echo \"-I -p tcp -s 10.0.0.254 -d 10.0.0.100 --sport $port --dport 80 \\
        --state ESTABLISHED -t 600 -u SEEN_REPLY\"; done | while read line; do conntrack $line 2>/dev/null; done";
    scenario.testbed.node.exec(insert);
    scenario.testbed.node.exec("conntrack -I -p tcp -s 10.0.0.254 -d 10.0.0.100 --sport 999 --dport 80 --state ESTABLISHED -t 600 -w 7 2>/dev/null");
    scenario.change(&[(GUEST100, ON)]);
    let left = || scenario.testbed.node.exec("conntrack -L 2>/dev/null | grep -c 'dport=80' || true");
    wait_for("the deletion of all connections", || (left().trim() == "0").then_some(()));
    wait_for("the number of deleted connections in the log", || {
        scenario.log().iter().any(|line| line.contains("and 81 more connections")).then_some(())
    });
    assert_eq!(scenario.log().iter().filter(|line| line.contains("is no longer allowed")).count(), 20);
}
