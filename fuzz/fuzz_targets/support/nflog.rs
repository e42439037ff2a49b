//! Properties that must hold for any bytes from nfnetlink_log, connection tracking and nftables.
use pve_firewall::nflog::conntrack::Event;
use pve_firewall::nflog::lines::{LogContext, LogLines};
use pve_firewall::nflog::message::LoggedPacket;
use pve_firewall::nflog::netlink::messages;
use pve_firewall::nflog::rtnetlink::link::link_event;
use pve_firewall::nflog::time::LocalTime;
use pve_firewall::nflog::trace::TraceStep;

struct FakeHost;

impl LogContext for FakeHost {
    fn interface(&mut self, index: u32) -> Option<&str> {
        index.is_multiple_of(2).then_some("eth0")
    }

    fn now(&self) -> i64 {
        0
    }

    fn local_time(&self, seconds: i64) -> LocalTime {
        assert!((0..=253_402_300_799).contains(&seconds), "a time after the year 9999");
        LocalTime { year: 2026, month: 10, day: 23, weekday: 1, hour: 7, minute: 36, second: 59, offset: 0 }
    }
}

/// Decodes a datagram of packets: each gets exactly one line with a valid head.
pub fn packets(data: &[u8]) {
    let mut lines = LogLines::new(FakeHost);
    for message in std::iter::once(data).chain(messages(data).map(|message| message.bytes)) {
        let mut line = String::new();
        lines.push_packet(&LoggedPacket::decode(message), &mut line);
        check_head(&line);
    }
    messages(data).for_each(|message| drop(link_event(message)));
}

/// Checks for one line with a valid head.
fn check_head(line: &str) {
    let text = line.strip_suffix('\n').expect("a line end");
    assert!(!text.contains(char::is_control), "{text:?}");
    let words: Vec<&str> = text.split(' ').collect();
    assert!(words.len() >= 6 && !text.ends_with(' '), "{text:?}");
    assert!(words[0].parse::<u32>().is_ok() && words[1].parse::<u8>().is_ok_and(|level| level < 8), "{text:?}");
    assert_eq!(words[3..5], ["23/Nov/2026:07:36:59", "+0000"]);
}

/// Decodes a datagram of traces: each step gets exactly one line with a valid head.
pub fn traces(data: &[u8]) {
    let mut lines = LogLines::new(FakeHost);
    for step in messages(data).filter_map(|message| TraceStep::decode(&message)) {
        let vmid = lines.guest_of_step(&step);
        let mut line = String::new();
        lines.push_trace(vmid, &step, &mut line);
        check_head(&line);
    }
}

/// Decodes a datagram of conntrack events: each gets at most one line.
pub fn connections(data: &[u8]) {
    let mut lines = LogLines::new(FakeHost);
    for event in messages(data).filter_map(|message| Event::decode(&message)) {
        let mut line = String::new();
        lines.push_conntrack(&event, &mut line);
        let text = line.strip_suffix('\n').expect("a line end");
        assert!(!text.contains(char::is_control) && !text.ends_with(' '), "{text:?}");
    }
}
