//! Connections: packets of an established one pass, also after updates; other packets do not.
use super::site::{GUEST100, HOST, Site, WAIT_LIMIT};
use crate::testbed::Endpoint::Outside;
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::ruleset::{Family, TcpFlags};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const OPEN: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\n";
const CLOSED: &str = "[OPTIONS]\nenable: 1\n";
/// Maximum time of an accepted packet.
const SOON: Duration = Duration::from_secs(2);

/// Both ends of a connection.
struct Connection(TcpStream, TcpStream);

impl Connection {
    fn open(site: &Site, server: &TcpListener, wait: Duration) -> Option<Self> {
        let address: SocketAddr = server.local_addr().unwrap();
        let client = site.testbed.outside.run(|| TcpStream::connect_timeout(&address, wait)).ok()?;
        let (peer, _) = server.accept().unwrap();
        for end in [&client, &peer] {
            end.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        }
        Some(Connection(client, peer))
    }

    /// Sends data in both directions.
    #[track_caller]
    fn talk(&mut self) {
        let Connection(client, peer) = self;
        let mut heard = [0; 4];
        client.write_all(b"ping").unwrap();
        peer.read_exact(&mut heard).unwrap();
        peer.write_all(b"pong").unwrap();
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"pong");
    }
}

#[test]
fn an_established_connection_survives_updates_that_refuse_new_ones() {
    let site = Site::new(&[(GUEST100, OPEN)]);
    site.testbed.assign_addresses();
    let server = site.testbed.netns(VM100).run(|| TcpListener::bind("10.0.0.100:80")).unwrap();
    let mut first = Connection::open(&site, &server, WAIT_LIMIT).expect("the rule accepts it");
    first.talk();
    site.change(&[(GUEST100, CLOSED)]);
    first.talk();
    assert!(Connection::open(&site, &server, SOON).is_none(), "no rule accepts a new one");
    site.change(&[(GUEST100, OPEN)]);
    let mut second = Connection::open(&site, &server, WAIT_LIMIT).expect("the rule is back");
    second.talk();
    first.talk();
}

#[test]
fn replies_pass_and_new_connections_do_not() {
    let mut site = Site::new(&[(GUEST100, CLOSED)]);
    let answer =
        || Probe::tcp(Outside, VM100, Family::V4, 40_000).ports(443, 40_000).flags(TcpFlags::SYN.and(TcpFlags::ACK));
    site.all(ProbeResult::Dropped, [answer()]);
    site.all(ProbeResult::Arrived, [Probe::tcp(VM100, Outside, Family::V4, 443)]);
    site.next(answer(), ProbeResult::Arrived);
    let reply = || Probe::udp(Outside, VM100, Family::V6, 40_000).ports(53, 40_000);
    site.all(ProbeResult::Dropped, [reply()]);
    site.all(ProbeResult::Arrived, [Probe::udp(VM100, Outside, Family::V6, 53)]);
    site.next(reply(), ProbeResult::Arrived);
}

#[test]
fn invalid_packets_pass_only_if_enabled() {
    let mut site = Site::new(&[(GUEST100, "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n")]);
    let invalid = || {
        let tcp = |port, flags| Probe::tcp(Outside, VM100, Family::V4, port).flags(flags);
        [tcp(1, TcpFlags::SYN.and(TcpFlags::ACK)), tcp(2, TcpFlags::RST), Probe::icmp(Outside, VM100, 0)]
    };
    site.all(ProbeResult::Dropped, invalid());
    site.change(&[(HOST, "[OPTIONS]\nnf_conntrack_allow_invalid: 1\n")]);
    site.all(ProbeResult::Arrived, invalid());
}
