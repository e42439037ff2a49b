//! Packets of an established connection pass, also after updates; other packets do not.
use super::scenario::{GUEST100, HOST, Scenario, WAIT_LIMIT, host, tracking_backends};
use crate::testbed::Endpoint::Outside;
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::ruleset::{Family, TcpFlags};
use pve_firewall::model::BackendKind;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const OPEN: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\n";
const CLOSED: &str = "[OPTIONS]\nenable: 1\n";
/// Maximum time of an accepted packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Both endpoints of a connection.
struct Connection(TcpStream, TcpStream);

impl Connection {
    fn open(scenario: &Scenario, server: &TcpListener, wait: Duration) -> Option<Self> {
        let address: SocketAddr = server.local_addr().unwrap();
        let client = scenario.testbed.outside.run(|| TcpStream::connect_timeout(&address, wait)).ok()?;
        let (peer, _) = server.accept().unwrap();
        for end in [&client, &peer] {
            end.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        }
        Some(Connection(client, peer))
    }

    /// Sends data in both directions.
    #[track_caller]
    fn exchange_data(&mut self) {
        let Connection(client, peer) = self;
        let mut received = [0; 4];
        client.write_all(b"ping").unwrap();
        peer.read_exact(&mut received).unwrap();
        peer.write_all(b"pong").unwrap();
        client.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"pong");
    }
}

#[test]
fn an_established_connection_survives_updates_that_refuse_new_ones() {
    tracking_backends().for_each(connection_survives_updates);
}

fn connection_survives_updates(kind: BackendKind) {
    let scenario = Scenario::with_backend(kind, &[(GUEST100, OPEN)]);
    scenario.testbed.assign_addresses();
    let server = scenario.testbed.netns(VM100).run(|| TcpListener::bind("10.0.0.100:80")).unwrap();
    let mut first = Connection::open(&scenario, &server, WAIT_LIMIT).expect("the rule accepts it");
    first.exchange_data();
    scenario.change(&[(GUEST100, CLOSED)]);
    first.exchange_data();
    assert!(Connection::open(&scenario, &server, CONNECT_TIMEOUT).is_none(), "no rule accepts a new one");
    scenario.change(&[(GUEST100, OPEN)]);
    let mut second = Connection::open(&scenario, &server, WAIT_LIMIT).expect("the restored rule accepts it");
    second.exchange_data();
    first.exchange_data();
}

#[test]
fn replies_pass_and_new_connections_do_not() {
    tracking_backends().for_each(only_replies_pass);
}

fn only_replies_pass(kind: BackendKind) {
    let mut scenario = Scenario::with_backend(kind, &[(GUEST100, CLOSED)]);
    let answer =
        || Probe::tcp(Outside, VM100, Family::V4, 40_000).ports(443, 40_000).flags(TcpFlags::SYN.and(TcpFlags::ACK));
    scenario.check_all(ProbeResult::Dropped, [answer()]);
    scenario.check_all(ProbeResult::Arrived, [Probe::tcp(VM100, Outside, Family::V4, 443)]);
    scenario.check_next(answer(), ProbeResult::Arrived);
    let reply = || Probe::udp(Outside, VM100, Family::V6, 40_000).ports(53, 40_000);
    scenario.check_all(ProbeResult::Dropped, [reply()]);
    scenario.check_all(ProbeResult::Arrived, [Probe::udp(VM100, Outside, Family::V6, 53)]);
    scenario.check_next(reply(), ProbeResult::Arrived);
}

#[test]
fn invalid_packets_pass_only_if_enabled() {
    tracking_backends().for_each(option_accepts_invalid_packets);
}

fn option_accepts_invalid_packets(kind: BackendKind) {
    let mut scenario = Scenario::with_backend(kind, &[(GUEST100, "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n")]);
    let invalid = || {
        let tcp = |port, flags| Probe::tcp(Outside, VM100, Family::V4, port).flags(flags);
        [tcp(1, TcpFlags::SYN.and(TcpFlags::ACK)), tcp(2, TcpFlags::RST), Probe::icmp(Outside, VM100, 0)]
    };
    scenario.check_all(ProbeResult::Dropped, invalid());
    scenario.change(&[(HOST, &host(kind, "nf_conntrack_allow_invalid: 1\n"))]);
    scenario.check_all(ProbeResult::Arrived, invalid());
}
