//! Packets as bytes.
use super::probe::{Encapsulation, Probe};
use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Icmpv4Type, Icmpv6Type, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder,
    TcpHeader,
};
use pve_firewall::iptables::ruleset::{Family, MacAddr, TcpFlags};
use pve_firewall::iptables::simulate::{Layer, Packet};
use std::net::IpAddr;

/// The payload of every probe: these bytes, then its number.
const MAGIC: &[u8; 8] = b"pvefwTAG";

/// The tag of a probe.
fn tag(number: u32) -> Vec<u8> {
    [&MAGIC[..], &number.to_be_bytes()].concat()
}

/// The number of the probe whose tag is in these bytes.
pub fn tagged(bytes: &[u8]) -> Option<u32> {
    let at = bytes.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let number = bytes.get(at + MAGIC.len()..)?.first_chunk()?;
    Some(u32::from_be_bytes(*number))
}

/// The Ethernet frame of a probe.
pub fn frame(probe: &Probe, number: u32) -> Vec<u8> {
    let from = probe.packet.mac.unwrap_or(probe.from.mac());
    let to = probe.dest_mac.unwrap_or(probe.to.mac());
    let (ethertype, body) = match probe.packet.layer {
        Layer::Ip(Family::V4) => (EtherType::IPV4, ip(&probe.packet, number)),
        Layer::Ip(Family::V6) => (EtherType::IPV6, ip(&probe.packet, number)),
        Layer::Arp => (EtherType::ARP, arp(&probe.packet, from, number)),
        Layer::Other(code) => (EtherType(code), tag(number)),
    };
    [&to.0[..], &from.0[..], &header(probe.encapsulation, ethertype.0, body.len())[..], &body[..]].concat()
}

/// The headers between the addresses of a frame and its packet, which has `length` bytes.
fn header(encapsulation: Encapsulation, ethertype: u16, length: usize) -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let length = u16::try_from(length).expect("a small packet");
    match encapsulation {
        Encapsulation::Plain => words(&[ethertype]),
        // with the highest priority
        Encapsulation::Vlan(vlan) => words(&[0x8100, 0xe000 | vlan, ethertype]),
        Encapsulation::QinQ(service, vlan) => words(&[0x88a8, service, 0x8100, vlan, ethertype]),
        // version and type 1, code 0, a session, its length with the protocol of PPP
        Encapsulation::Pppoe => {
            words(&[0x8864, 0x1100, 1, length + 2, if ethertype == 0x0800 { 0x0021 } else { 0x0057 }])
        }
        Encapsulation::Snap => words(&[length + 8, 0xaaaa, 0x0300, 0, ethertype]),
    }
}

fn address(of: Option<IpAddr>) -> IpAddr {
    of.expect("a packet on the wire has addresses")
}

/// The IP packet of a probe.
pub fn ip(packet: &Packet, number: u32) -> Vec<u8> {
    let builder = match (address(packet.source), address(packet.dest)) {
        (IpAddr::V4(source), IpAddr::V4(dest)) => {
            let protocol = IpNumber(packet.protocol);
            let mut header = Ipv4Header::new(0, 64, protocol, source.octets(), dest.octets()).unwrap();
            header.identification = number as u16;
            PacketBuilder::ip(IpHeaders::Ipv4(header, Default::default()))
        }
        (IpAddr::V6(source), IpAddr::V6(dest)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber(packet.protocol),
                // neighbour discovery requires this hop limit (RFC 4861)
                hop_limit: 255,
                source: source.octets(),
                destination: dest.octets(),
            };
            PacketBuilder::ip(IpHeaders::Ipv6(header, Default::default()))
        }
        other => panic!("mixed families: {other:?}"),
    };
    let mut bytes = Vec::new();
    let (sport, dport) = (packet.sport.unwrap_or(0), packet.dport.unwrap_or(0));
    let tag = tag(number);
    let written = match (packet.protocol, packet.icmp) {
        (Packet::TCP, _) => builder.tcp_header(tcp(packet.flags, sport, dport)).write(&mut bytes, &tag),
        (Packet::UDP, _) => builder.udp(sport, dport).write(&mut bytes, &tag),
        (Packet::ICMP, Some((type_u8, code_u8))) => {
            let message = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8: id(number) };
            builder.icmpv4(message).write(&mut bytes, &icmp_body(packet, type_u8, &tag))
        }
        (Packet::ICMPV6, Some((type_u8, code_u8))) => {
            let message = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8: id(number) };
            builder.icmpv6(message).write(&mut bytes, &icmp_body(packet, type_u8, &tag))
        }
        (protocol, _) => builder.write(&mut bytes, IpNumber(protocol), &body(packet, &tag)),
    };
    written.expect("small packets");
    bytes
}

/// The payload of any other protocol: zeros for its header, and the checksum that the kernel verifies before it replies
/// (nf_ip_checksum() and nf_ip6_checksum() in Linux).
fn body(packet: &Packet, tag: &[u8]) -> Vec<u8> {
    let mut body = [&[0; 16][..], tag].concat();
    let mut sum = Sum16BitWords::new().add_slice(&body);
    sum = match (address(packet.source), address(packet.dest)) {
        (IpAddr::V6(source), IpAddr::V6(dest)) => {
            let length = u16::try_from(body.len()).expect("a small packet");
            let sum = sum.add_16bytes(source.octets()).add_16bytes(dest.octets());
            sum.add_2bytes(length.to_be_bytes()).add_2bytes([0, packet.protocol])
        }
        _ => sum,
    };
    body[2..4].copy_from_slice(&sum.ones_complement().to_be().to_be_bytes());
    body
}

/// Identifier and sequence number of an echo request; unused in other messages.
fn id(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// An error message quotes a packet that was never sent; any other message is an address followed by the tag.
fn icmp_body(packet: &Packet, kind: u8, tag: &[u8]) -> Vec<u8> {
    let error = match packet.layer {
        Layer::Ip(Family::V4) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        _ => kind < 128,
    };
    if !error {
        let target = match address(packet.dest) {
            IpAddr::V6(dest) => dest.octets(),
            IpAddr::V4(_) => [0; 16],
        };
        return [&target[..], tag].concat();
    }
    let mut inner = Vec::new();
    let (source, dest) = (address(packet.dest), address(packet.source));
    let builder = match (source, dest) {
        (IpAddr::V4(source), IpAddr::V4(dest)) => PacketBuilder::ipv4(source.octets(), dest.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(dest)) => PacketBuilder::ipv6(source.octets(), dest.octets(), 64),
        other => panic!("mixed families: {other:?}"),
    };
    builder.udp(61_000, 61_001).write(&mut inner, tag).expect("a small packet");
    inner
}

fn tcp(flags: TcpFlags, sport: u16, dport: u16) -> TcpHeader {
    let mut header = TcpHeader::new(sport, dport, 1000, 64_000);
    let has = |flag: TcpFlags| flags.0 & flag.0 != 0;
    header.fin = has(TcpFlags::FIN);
    header.syn = has(TcpFlags::SYN);
    header.rst = has(TcpFlags::RST);
    header.psh = has(TcpFlags::PSH);
    header.ack = has(TcpFlags::ACK);
    header.urg = has(TcpFlags::URG);
    header
}

/// An ARP request (RFC 826), followed by the tag.
fn arp(packet: &Packet, from: MacAddr, number: u32) -> Vec<u8> {
    let octets = |of| match address(of) {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("ARP is IPv4"),
    };
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let (source, dest) = (octets(packet.source), octets(packet.dest));
    [&head[..], &from.0[..], &source[..], &[0; 6][..], &dest[..], &tag(number)[..]].concat()
}

/// The broadcast address of a link.
pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
