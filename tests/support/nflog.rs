//! Synthetic NFLOG messages, and a host with a fixed clock.
#![allow(dead_code, reason = "each test program uses a part")]
use pve_firewall::nflog::conntrack::Event;
use pve_firewall::nflog::lines::{LogContext, LogLines};
use pve_firewall::nflog::message::LoggedPacket;
use pve_firewall::nflog::netlink::{Request, messages};
use pve_firewall::nflog::time::LocalTime;
use pve_firewall::nflog::trace::TraceStep;
use std::collections::BTreeMap;

/// The time of [`TestHost`].
pub const TIME: &str = "23/Nov/2026:07:36:59 +0000";

/// [`TIME`] in seconds since the epoch.
const NOW: i64 = 1_795_419_419;

/// A host with these interfaces; its clock is fixed at [`TIME`].
#[derive(Debug, Default)]
pub struct TestHost(pub BTreeMap<u32, String>);

impl LogContext for TestHost {
    fn interface(&mut self, index: u32) -> Option<&str> {
        self.0.get(&index).map(String::as_str)
    }

    fn now(&self) -> i64 {
        NOW
    }

    fn local_time(&self, seconds: i64) -> LocalTime {
        let part = |unit: i64, range: i64| u8::try_from(seconds.div_euclid(unit).rem_euclid(range)).unwrap();
        let (hour, minute, second) = (part(3600, 24), part(60, 60), part(1, 60));
        LocalTime { year: 2026, month: 10, day: 23, weekday: 1, hour, minute, second, offset: 0 }
    }
}

/// The line of a netlink message.
pub fn line_of(message: &[u8], interfaces: BTreeMap<u32, String>) -> String {
    let mut out = String::new();
    LogLines::new(TestHost(interfaces)).push_packet(&LoggedPacket::decode(message), &mut out);
    out
}

/// A message of nfnetlink_log with a family, the frame's protocol and a packet.
pub fn message(family: u8, protocol: u16, payload: &[u8]) -> Request {
    let [high, low] = protocol.to_be_bytes();
    Request::new(0x0400, 0, 0, &[family, 0, 0, 0])
        .with(1, &[high, low, 0, 0])
        .with(10, b":100:6:tap100i0-IN: policy DROP: \0")
        .with(9, payload)
}

/// The fields in the line of this request, without the line end.
pub fn fields_of(request: Request) -> String {
    let line = line_of(&request.bytes(), BTreeMap::new());
    let head = format!("100 6 tap100i0-IN {TIME} policy DROP: ");
    line.strip_prefix(&head).and_then(|rest| rest.strip_suffix('\n')).unwrap_or_else(|| panic!("{line}")).to_string()
}

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2; `fragment` is the word of flags and offset.
pub fn ipv4(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + rest.len()).unwrap().to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0x12, 0x34, high, low, 64, protocol, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(rest);
    packet
}

/// An IPv6 packet from fd00::1 to fd00::2.
pub fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(rest);
    packet
}

/// The line of a conntrack message, if it has one.
pub fn conntrack(request: Request) -> Option<String> {
    let bytes = request.bytes();
    let event = messages(&bytes).next().as_ref().and_then(Event::decode)?;
    let mut out = String::new();
    LogLines::new(TestHost::default()).push_conntrack(&event, &mut out);
    Some(out)
}

/// A step of a trace with this table family (`NFPROTO_…`) and `NFT_TRACETYPE_…`, in the chain `t c`.
pub fn trace_step(family: u8, kind: u32) -> Request {
    let id = 0x1234_abcd_u32;
    Request::new(0x0a11, 0, 0, &[family, 0, 0, 0])
        .with(1, b"t\0")
        .with(2, b"c\0")
        .with(4, &kind.to_be_bytes())
        .with(6, &id.to_be_bytes())
}

/// The lines of messages of traces, one after the other, on a host with these interfaces.
pub fn traces(datagram: &[u8], interfaces: BTreeMap<u32, String>) -> String {
    let mut lines = LogLines::new(TestHost(interfaces));
    let mut out = String::new();
    for step in messages(datagram).filter_map(|message| TraceStep::decode(&message)) {
        let vmid = lines.guest_of_step(&step);
        lines.push_trace(vmid, &step, &mut out);
    }
    out
}
