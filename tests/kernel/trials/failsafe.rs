//! `--failsafe` and `--cut-connections`, shown by connections on the test bed.
use super::super::scenarios::site::{CLUSTER, GUEST100, HOST, ON, Site};
use super::connections::{run, write};
use crate::node::wait_for;
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::{VM100, VM101};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(2);
const CLOSED: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP\nOUT DROP\n";

fn listen(site: &Site, place: crate::testbed::Endpoint, server: &str) -> TcpListener {
    site.testbed.netns(place).run(|| TcpListener::bind(server).unwrap())
}

fn connect(site: &Site, place: crate::testbed::Endpoint, server: &str) -> Option<TcpStream> {
    let server: SocketAddr = server.parse().unwrap();
    site.testbed.netns(place).run(|| TcpStream::connect_timeout(&server, SOON)).ok()
}

#[test]
fn failsafe_ports_are_open_whatever_the_configuration_says() {
    let options = ["--failsafe", "tcp/22@10.0.0.254,tcp/8006:8007@fd00::/64"];
    let site = Site::with_options(&options, &[(HOST, ON)]);
    site.testbed.assign_addresses();
    let servers = ["10.0.0.1:22", "10.0.0.1:8006", "[fd00::1]:8006"];
    let _servers = servers.map(|server| listen(&site, Host, server));
    let out = listen(&site, Outside, "10.0.0.254:22");
    let chains = |site: &Site| {
        let saved = site.testbed.node.exec("iptables-legacy-save -t filter; ip6tables-legacy-save -t filter");
        saved.lines().filter(|line| line.starts_with("-A PVEFW") && !line.contains("FAILSAFE")).count()
    };
    let before = chains(&site);
    assert!(before > 0);
    for (path, text) in [(HOST, CLOSED), (CLUSTER, "[OPTIONS]\nenable: 1\n[IPSET blacklist]\n10.0.0.0/24\nfd00::/64\n")]
    {
        site.change(&[(path, text)]);
        assert!(connect(&site, Outside, "10.0.0.1:22").is_some(), "{text}");
        assert!(connect(&site, Outside, "[fd00::1]:8006").is_some(), "{text}");
        assert!(connect(&site, Outside, "10.0.0.1:8006").is_none(), "IPv4 has no opening for it: {text}");
        assert!(connect(&site, VM101, "10.0.0.1:22").is_none(), "another address: {text}");
        assert!(path == CLUSTER || connect(&site, Host, "10.0.0.254:22").is_none(), "out is not in: {text}");
        // the simulator agrees
        for (source, dport, action) in [
            ("10.0.0.254", "22", "ACCEPT"),
            ("10.0.0.101", "22", "DROP"),
            ("10.0.0.254", "8006", "DROP"),
            ("fd00::fe", "8007", "ACCEPT"),
        ] {
            let output = run(
                &site,
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
        site.change(&[(HOST, ON), (CLUSTER, ON)]);
    }
    drop(out);
    // `check` finds that there is still management access
    let file = write(site.root(), HOST, CLOSED);
    let found = String::from_utf8(run(&site, &["check", &file]).stdout).unwrap();
    assert!(!found.contains("port 22"), "{found}");
    let status = String::from_utf8(run(&site, &["status", "--verbose"]).stdout).unwrap();
    assert!(status.contains("Failsafe:      tcp/22@10.0.0.254/32,tcp/8006:8007@fd00::/64\n"), "{status}");
    // its jump is the first, and restored if it is deleted
    let first = "iptables-legacy-save -t filter | grep -E '^-A (INPUT|OUTPUT)'";
    let wanted =
        "-A INPUT -j PVEFW-FAILSAFE\n-A INPUT -j PVEFW-INPUT\n-A OUTPUT -j PVEFW-FAILSAFE\n-A OUTPUT -j PVEFW-OUTPUT\n";
    assert_eq!(site.testbed.node.exec(first), wanted);
    site.testbed.node.exec("iptables-legacy -D INPUT -j PVEFW-FAILSAFE; iptables-legacy -F PVEFW-FAILSAFE");
    wait_for("the jump", || (site.testbed.node.exec(first) == wanted).then_some(()));
    wait_for("the rules", || connect(&site, Outside, "10.0.0.1:22").map(drop));
    // and is removed with the other rules
    site.change_to_off();
    assert!(!site.testbed.node.exec("iptables-legacy-save; ip6tables-legacy-save").contains("FAILSAFE"));
}

/// Both ends of a connection.
struct Connection(TcpStream, TcpStream);

impl Connection {
    fn open(site: &Site, from: crate::testbed::Endpoint, server: &TcpListener) -> Self {
        let address = server.local_addr().unwrap();
        let client =
            site.testbed.netns(from).run(|| TcpStream::connect_timeout(&address, Duration::from_secs(30))).unwrap();
        let (peer, _) = server.accept().unwrap();
        for end in [&client, &peer] {
            end.set_read_timeout(Some(SOON)).unwrap();
        }
        Connection(client, peer)
    }

    fn talks(&mut self) -> bool {
        let mut heard = [0; 4];
        self.0.write_all(b"ping").is_ok() && self.1.read_exact(&mut heard).is_ok()
    }
}

#[test]
fn connections_that_a_change_refuses_are_deleted_and_no_others() {
    let open = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80,443\n";
    let site = Site::with_options(&["--cut-connections"], &[(HOST, ON), (GUEST100, open)]);
    site.testbed.assign_addresses();
    let servers = [
        listen(&site, VM100, "10.0.0.100:80"),
        listen(&site, VM100, "10.0.0.100:443"),
        listen(&site, VM100, "[fd00::100]:80"),
        listen(&site, Host, "10.0.0.1:22"),
    ];
    let mut connections: Vec<Connection> =
        servers.iter().map(|server| Connection::open(&site, Outside, server)).collect();
    let mut talk = || connections.iter_mut().map(Connection::talks).collect::<Vec<_>>();
    assert_eq!(talk(), [true; 4]);
    // a change without effect on verdicts deletes no connection
    site.change(&[(GUEST100, &open.replace("80,443", "80,443,444"))]);
    assert_eq!(talk(), [true; 4]);
    site.change(&[(GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 443\n")]);
    wait_for("the ends", || (talk() == [false, true, false, true]).then_some(()));
    let log = site.log();
    let cut: Vec<_> = log.iter().filter(|line| line.contains("is no longer allowed")).collect();
    assert_eq!(cut.len(), 2, "{log:#?}");
    assert!(cut[0].contains("10.0.0.100:80 of guest 100 is no longer allowed (DROP by "), "{cut:#?}");
    // a blacklist ends the connections of its members
    site.change(&[(CLUSTER, "[OPTIONS]\nenable: 1\n[IPSET blacklist]\n10.0.0.254\n")]);
    wait_for("the ends", || (talk() == [false; 4]).then_some(()));
}

#[test]
fn a_flood_of_cut_connections_is_counted_and_not_logged_line_by_line() {
    let open = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\n";
    let site = Site::with_options(&["--cut-connections"], &[(GUEST100, open)]);
    let insert = "for port in $(seq 1000 1099); do echo \"-I -p tcp -s 10.0.0.254 -d 10.0.0.100 --sport $port --dport 80 \\
        --state ESTABLISHED -t 600 -u SEEN_REPLY\"; done | while read line; do conntrack $line 2>/dev/null; done";
    site.testbed.node.exec(insert);
    site.testbed.node.exec("conntrack -I -p tcp -s 10.0.0.254 -d 10.0.0.100 --sport 999 --dport 80 --state ESTABLISHED -t 600 -w 7 2>/dev/null");
    site.change(&[(GUEST100, ON)]);
    let left = || site.testbed.node.exec("conntrack -L 2>/dev/null | grep -c 'dport=80' || true");
    wait_for("all to be gone", || (left().trim() == "0").then_some(()));
    wait_for("the count", || site.log().iter().any(|line| line.contains("and 81 more connections")).then_some(()));
    assert_eq!(site.log().iter().filter(|line| line.contains("is no longer allowed")).count(), 20);
}
