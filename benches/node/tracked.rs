//! 100,000 tracked connections of a node's guests.
use crate::bench_node::BenchNode;
use crate::netns::Netns;
use crate::trees;
use fastrand::Rng;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The number of connections.
const COUNT: usize = 100_000;
/// One of this many connections is IPv6.
const V6: usize = 5;
/// One of this many connections is opened by the guest.
const OUTGOING: usize = 4;
const PORTS: [u16; 10] = [22, 25, 53, 80, 443, 993, 3306, 5432, 8080, 9100];
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// The connections of a node, as a file for `conntrack -R`.
pub struct Tracked(PathBuf);

impl Tracked {
    /// Creates the connections: half of the incoming ones are to port 443, a quarter of the clients are in 10.64.0.0/12. The neighbour
    /// table of the node has the IPv4 addresses of the guests; their IPv6 addresses contain their MAC addresses.
    pub fn fill(bench_node: &BenchNode) -> Self {
        let macs = macs(&bench_node.node.config());
        let netns = &bench_node.node.netns;
        netns.exec("ip link add vmbr0 type bridge; ip address add 10.16.0.1/12 dev vmbr0; ip link set vmbr0 up");
        let neighbours = bench_node.node.path("neighbours");
        let mut lines = String::new();
        for (at, mac) in macs.iter().enumerate() {
            let _ = writeln!(lines, "neigh replace {} lladdr {} dev vmbr0 nud permanent", v4(at), text(*mac));
        }
        fs::write(&neighbours, lines).expect("the neighbours");
        netns.exec(&format!("ip -batch {}", neighbours.display()));
        let mut random = Rng::with_seed(1);
        let connections: String = (0..COUNT).map(|number| line(number, &macs, &mut random)).collect();
        let file = bench_node.node.path("connections");
        fs::write(&file, connections).expect("the connections");
        let tracked = Tracked(file);
        tracked.refill(netns);
        tracked
    }

    /// Adds deleted connections again.
    pub fn refill(&self, netns: &Netns) {
        netns.exec(&format!("conntrack -F 2>/dev/null; conntrack -R {} 2>/dev/null", self.0.display()));
        let now = netns.run(count);
        assert!(now >= COUNT, "{now} tracked connections");
    }
}

/// Waits until some connections are deleted and then none for some time; returns the time of the last deletion.
pub fn wait_until_deleted(netns: &Netns) -> Instant {
    const QUIET_TIME: Duration = Duration::from_millis(300);
    netns.run(|| {
        let deadline = Instant::now() + WAIT_LIMIT;
        let (mut before, mut last) = (COUNT, None);
        loop {
            let (now, time) = (count(), Instant::now());
            if now < before {
                (before, last) = (now, Some(time));
            }
            match last {
                Some(last) if last.elapsed() > QUIET_TIME => return last,
                _ => assert!(time < deadline, "timed out waiting for the end of connections"),
            }
            sleep(Duration::from_millis(1));
        }
    })
}

/// The number of tracked connections in the namespace of this thread.
fn count() -> usize {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").expect("the number of connections");
    text.trim().parse().expect("a number")
}

/// The MAC addresses of the node's guests.
fn macs(config: &Path) -> Vec<[u8; 6]> {
    let tree = trees::from_directory(config);
    let confs = tree.files.keys().filter(|path| path.starts_with("nodes/n1/") && path.ends_with(".conf"));
    let mut macs = Vec::new();
    for conf in confs {
        let conf = String::from_utf8_lossy(tree.content(conf).unwrap_or_default()).into_owned();
        let words = conf.lines().filter(|line| line.starts_with("net")).flat_map(|line| line.split([' ', ',']));
        macs.extend(words.filter_map(|word| mac(word.split_once('=')?.1)));
    }
    macs
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>().ok()?;
    octets.try_into().ok()
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

fn v4(guest: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a10_0100 + u32::try_from(guest).expect("a guest's number"))
}

fn v6([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfd00, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

/// A line of `conntrack -R`.
fn line(number: usize, macs: &[[u8; 6]], random: &mut Rng) -> String {
    let guest = number % macs.len();
    let client = random.u32(0..1 << 22);
    let (guest, client) = match random.usize(0..V6) {
        0 => (v6(macs[guest]).to_string(), format!("fd01::{:x}:{:x}", client >> 16, client & 0xffff)),
        _ => (v4(guest).to_string(), Ipv4Addr::from_bits(0x0a40_0000 + client).to_string()),
    };
    let dport = if random.bool() { 443 } else { PORTS[random.usize(0..PORTS.len())] };
    let sport = random.u16(1024..);
    let (source, dest) = if random.usize(0..OUTGOING) == 0 { (guest, client) } else { (client, guest) };
    format!(
        "-A -t 3600 -u SEEN_REPLY,ASSURED -s {source} -d {dest} -r {dest} -q {source} -p tcp --sport {sport} --dport {dport} \
         --reply-port-src {dport} --reply-port-dst {sport} --state ESTABLISHED\n"
    )
}
