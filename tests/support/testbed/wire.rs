//! Sends probes and captures packets in all namespaces to determine their result.
use super::frame::{self, tagged};
use super::probe::{Probe, ProbeResult};
use super::{Endpoint, TestBed};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpHeaderSlice};
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, bind, recvfrom};
use pve_firewall::iptables::ruleset::{Family, RejectWith};
use pve_firewall::iptables::simulate::{Layer, Packet};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// The protocols of the node's raw sockets, without AH and other IPv6 extension headers.
pub const PROTOCOLS: [u8; 7] = [2, 6, 17, 47, 50, 89, 112];
/// Packets count as dropped if none arrives for this time.
const QUIET: Duration = Duration::from_millis(40);
/// All frames: `ETH_P_ALL` of packet(7).
const ETH_P_ALL: u16 = 3;
/// A frame sent by this host: `PACKET_OUTGOING` of packet(7).
pub const OUTGOING: u8 = 4;

/// The kind of packets that a socket receives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PacketKind {
    /// Ethernet frames.
    Frames,
    /// IPv4 packets with their header.
    V4,
    /// IPv6 payloads without their header.
    V6(u8),
}

/// Sockets at all endpoints of a test bed.
pub struct Wire {
    sockets: Vec<(Endpoint, PacketKind, Socket)>,
    senders: BTreeMap<Endpoint, usize>,
    host: [Socket; 2],
    number: u32,
}

/// A captured packet.
struct Captured<'a> {
    endpoint: Endpoint,
    /// The source of an IP packet.
    source: Option<IpAddr>,
    /// Its destination, if known.
    dest: Option<IpAddr>,
    protocol: u8,
    /// The payload of the IP packet.
    body: &'a [u8],
}

impl Wire {
    pub fn new(testbed: &TestBed) -> Self {
        let mut sockets = Vec::new();
        let mut senders = BTreeMap::new();
        for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Host) {
            senders.insert(endpoint, sockets.len());
            sockets.push((
                endpoint,
                PacketKind::Frames,
                testbed.netns(endpoint).run(|| packet_socket(&endpoint.interface())),
            ));
        }
        let raw = |family: Family, protocol: u8| testbed.node.run(|| raw_socket(family, protocol));
        for protocol in PROTOCOLS.into_iter().chain([Packet::ICMP]) {
            sockets.push((Endpoint::Host, PacketKind::V4, raw(Family::V4, protocol)));
        }
        for protocol in PROTOCOLS.into_iter().chain([Packet::ICMPV6]) {
            sockets.push((Endpoint::Host, PacketKind::V6(protocol), raw(Family::V6, protocol)));
        }
        // IPPROTO_RAW: packets with their headers (raw(7))
        Wire { sockets, senders, host: [raw(Family::V4, 255), raw(Family::V6, 255)], number: 0 }
    }

    /// Sends one probe.
    pub fn send_probe(&mut self, probe: &Probe) -> ProbeResult {
        self.send_and_capture(std::slice::from_ref(probe), QUIET * 5)[0]
    }

    /// Sends probes, no two of the same connection, and returns the result of each.
    pub fn send_probes(&mut self, probes: &[Probe]) -> Vec<ProbeResult> {
        self.send_and_capture(probes, QUIET)
    }

    fn send_and_capture(&mut self, probes: &[Probe], quiet: Duration) -> Vec<ProbeResult> {
        let first = self.number;
        let mut results = vec![ProbeResult::Dropped; probes.len()];
        // in small batches, so that no queue overflows
        for (start, chunk) in (0..).step_by(32).zip(probes.chunks(32)) {
            for (index, probe) in (start..).zip(chunk) {
                self.send(probe, first + index);
            }
            self.listen(probes, first, Duration::ZERO, &mut results);
        }
        self.number += u32::try_from(probes.len()).unwrap();
        self.listen(probes, first, quiet, &mut results);
        results
    }

    fn send(&self, probe: &Probe, number: u32) {
        let (Endpoint::Guest(_) | Endpoint::Outside) = probe.from else {
            let (socket, dest) = match probe.packet.layer {
                Layer::Ip(Family::V4) => (&self.host[0], probe.packet.dest),
                Layer::Ip(Family::V6) => (&self.host[1], probe.packet.dest),
                Layer::Arp | Layer::Other(_) => panic!("the node sends its ARP requests itself"),
            };
            let to = SocketAddr::new(dest.expect("a packet on the wire has addresses"), 0);
            // sending fails for a packet that the firewall drops on output
            let _ = socket.send_to(&frame::ip(&probe.packet, number), &to.into());
            return;
        };
        let (_, _, socket) = &self.sockets[self.senders[&probe.from]];
        socket.send(&frame::frame(probe, number)).expect("sending a frame");
    }

    /// Captures until no packet arrives for a time.
    fn listen(&self, probes: &[Probe], first: u32, quiet: Duration, results: &mut [ProbeResult]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let timeout = PollTimeout::try_from(quiet).expect("a short time");
        while Instant::now() < deadline {
            let mut fds: Vec<_> =
                self.sockets.iter().map(|(_, _, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
            if poll(&mut fds, timeout).expect("polling sockets") == 0 {
                return;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            for ((endpoint, kind, socket), _) in self.sockets.iter().zip(ready).filter(|(_, ready)| *ready) {
                self.read_queued(*endpoint, *kind, socket, |seen| record(seen, probes, first, results));
            }
        }
        panic!("packets still arrive after 10 s");
    }

    /// Reads all queued packets of a socket.
    fn read_queued(
        &self,
        endpoint: Endpoint,
        kind: PacketKind,
        socket: &Socket,
        mut record: impl FnMut(&Captured<'_>),
    ) {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) {
            let from = from.unwrap_or_else(|| panic!("a packet without a sender"));
            if from.as_link_addr().is_some_and(|link| link.pkttype() == OUTGOING) {
                continue;
            }
            let bytes = &buffer[..length];
            let seen = match kind {
                PacketKind::Frames => captured_frame(endpoint, bytes),
                PacketKind::V4 => captured_packet(endpoint, LaxSlicedPacket::from_ip(bytes).ok()),
                PacketKind::V6(protocol) => from.as_sockaddr_in6().map(|source| Captured {
                    endpoint,
                    source: Some(source.ip().into()),
                    dest: None,
                    protocol,
                    body: bytes,
                }),
            };
            if let Some(seen) = seen {
                record(&seen);
            }
        }
    }
}

/// A socket for the frames of an interface in the namespace of this thread.
pub fn packet_socket(interface: &str) -> Socket {
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("a packet socket; tests need root");
    let own = |one: &nix::ifaddrs::InterfaceAddress| {
        (one.interface_name == interface).then_some(one.address?).filter(|address| address.as_link_addr().is_some())
    };
    let address = getifaddrs().expect("interfaces").find_map(|one| own(&one)).expect("the interface");
    bind(socket.as_raw_fd(), &address).expect("binding to the interface");
    prepared(socket)
}

/// A socket for the IP packets of a protocol that reach the node, in the namespace of this thread.
pub fn raw_socket(family: Family, protocol: u8) -> Socket {
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))));
    let socket = socket.expect("a raw socket; tests need root");
    socket.set_broadcast(true).expect("sending broadcasts");
    prepared(socket)
}

fn prepared(socket: Socket) -> Socket {
    socket.set_nonblocking(true).expect("a nonblocking socket");
    socket.set_recv_buffer_size(4 << 20).expect("a receive buffer");
    socket
}

fn captured_frame(endpoint: Endpoint, bytes: &[u8]) -> Option<Captured<'_>> {
    let sliced = LaxSlicedPacket::from_ethernet(bytes).ok();
    // ARP, or a packet that the parser considers invalid
    captured_packet(endpoint, sliced).or(Some(Captured {
        endpoint,
        source: None,
        dest: None,
        protocol: 0,
        body: bytes,
    }))
}

fn captured_packet(endpoint: Endpoint, sliced: Option<LaxSlicedPacket<'_>>) -> Option<Captured<'_>> {
    let (source, dest, payload): (IpAddr, IpAddr, _) = match sliced?.net? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().clone())
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().clone())
        }
        _ => return None,
    };
    Some(Captured {
        endpoint,
        source: Some(source),
        dest: Some(dest),
        protocol: payload.ip_number.0,
        body: payload.payload,
    })
}

/// Records the result that a captured packet shows.
fn record(seen: &Captured<'_>, probes: &[Probe], first: u32, results: &mut [ProbeResult]) {
    let Some(number) = tagged(seen.body) else {
        if seen.protocol == Packet::TCP {
            record_reset(seen, probes, results);
        }
        return;
    };
    let Some(index) = number.checked_sub(first).map(|index| index as usize).filter(|index| *index < probes.len())
    else {
        return;
    };
    let probe = &probes[index];
    let own = seen.source.is_none() || seen.source == probe.packet.source;
    if seen.endpoint == probe.to && own {
        results[index] = ProbeResult::Arrived;
    } else if results[index] == ProbeResult::Dropped
        && let Some(with) = rejection(seen.protocol, seen.body)
        && !(own && probe.packet.icmp.is_some())
    {
        results[index] = ProbeResult::Rejected(with);
    }
}

/// A TCP RST is the reply to the probe in the opposite direction.
fn record_reset(seen: &Captured<'_>, probes: &[Probe], results: &mut [ProbeResult]) {
    let Ok(tcp) = TcpHeaderSlice::from_slice(seen.body) else { return };
    if !tcp.rst() {
        return;
    }
    for (probe, result) in probes.iter().zip(results) {
        let Packet { protocol, source, dest, sport, dport, .. } = probe.packet;
        let ends = dest == seen.source && (seen.dest.is_none() || source == seen.dest);
        let answers = ends && dport == Some(tcp.source_port()) && sport == Some(tcp.destination_port());
        if protocol == Packet::TCP && answers && *result == ProbeResult::Dropped {
            *result = ProbeResult::Rejected(RejectWith::TcpReset);
        }
    }
}

/// The kind of rejection in an ICMP error.
fn rejection(protocol: u8, body: &[u8]) -> Option<RejectWith> {
    match (protocol, *body.first()?, *body.get(1)?) {
        (Packet::ICMP, 3, 1) => Some(RejectWith::IcmpHostUnreachable),
        (Packet::ICMP, 3, 3) => Some(RejectWith::IcmpPortUnreachable),
        (Packet::ICMP, 3, 10) => Some(RejectWith::IcmpHostProhibited),
        (Packet::ICMPV6, 1, 1) => Some(RejectWith::Icmp6AdmProhibited),
        (Packet::ICMPV6, 1, 4) => Some(RejectWith::Icmp6PortUnreachable),
        _ => None,
    }
}
