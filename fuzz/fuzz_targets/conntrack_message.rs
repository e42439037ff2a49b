//! Any bytes as a datagram of conntrack events: at most one line each.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pve_firewall::nflog::conntrack::Event;
use pve_firewall::nflog::lines::{Host, Lines};
use pve_firewall::nflog::netlink::messages;
use pve_firewall::nflog::time::LocalTime;

struct Nowhere;

impl Host for Nowhere {
    fn interface(&mut self, _: u32) -> Option<&str> {
        None
    }

    fn now(&self) -> i64 {
        0
    }

    fn local_time(&self, _: i64) -> LocalTime {
        LocalTime { year: 2026, month: 10, day: 23, weekday: 1, hour: 7, minute: 36, second: 59, offset: 0 }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut lines = Lines::new(Nowhere);
    for event in messages(data).filter_map(|message| Event::decode(&message)) {
        let mut line = String::new();
        lines.push_conntrack(&event, &mut line);
        let text = line.strip_suffix('\n').expect("a line end");
        assert!(!text.contains(char::is_control) && !text.ends_with(' '), "{text:?}");
    }
});
