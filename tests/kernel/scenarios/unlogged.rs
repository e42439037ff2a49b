//! Traffic that a policy drops without logging, and traffic that it logs.
use super::site::{GUEST100, HOST, Site};
use crate::logger::Logger;
use crate::testbed::Place::{Host, Outside};
use crate::testbed::probe::Probe;
use crate::testbed::{Place, VM100};
use pve_firewall::iptables::ruleset::{Family, TcpFlags};

/// Noise that is not logged.
fn noise(to: Place) -> Vec<Probe> {
    let udp = |sport, dport| Probe::udp(Outside, to, Family::V4, dport).ports(sport, dport);
    let tcp = |dport| Probe::tcp(Outside, to, Family::V4, dport);
    let broadcast = if to == Host { "224.0.0.1" } else { "239.1.2.3" };
    vec![
        tcp(9998).flags(TcpFlags::SYN.and(TcpFlags::ACK)),
        udp(4000, 9998).dest("10.0.0.255"),
        udp(4001, 9998).dest(broadcast),
        tcp(43),
        udp(4002, 135),
        udp(4003, 445),
        udp(4004, 137),
        udp(4005, 138),
        udp(4006, 139),
        udp(137, 1024),
        udp(137, 65535),
        udp(4007, 1900),
        tcp(135),
        tcp(139),
        tcp(445),
        udp(53, 9998),
    ]
}

#[test]
fn noise_is_dropped_without_logging_and_the_rest_is_logged() {
    let host = "[OPTIONS]\nlog_level_in: info\n";
    let guest = "[OPTIONS]\nenable: 1\nlog_level_in: info\n[RULES]\nIN DROP -p tcp -dport 23 -log warning\n";
    let mut site = Site::new(&[(HOST, host), (GUEST100, guest)]);
    let logger = Logger::start(&site.bed.node, site.root(), &[]);
    for (to, place) in [(Host, "0 6 PVEFW-HOST-IN "), (VM100, "100 6 tap100i0-IN ")] {
        assert_eq!(site.arrivals(&noise(to)), 0);
        // a packet after the noise: when it is in the log, the noise would be too
        assert_eq!(site.arrivals(&[Probe::tcp(Outside, to, Family::V4, 9999)]), 0);
        let line = logger.line_with(&format!(" policy DROP: IN={}", if to == Host { "vmbr0" } else { "fwbr100i0" }));
        assert!(line.starts_with(place) && line.contains("DPT=9999"), "{line}");
    }
    assert_eq!(site.arrivals(&[Probe::tcp(Outside, VM100, Family::V4, 23)]), 0);
    let line = logger.line_with("DPT=23 ");
    assert!(line.starts_with("100 4 tap100i0-IN ") && line.contains(" DROP: "), "{line}");
    let text = logger.stop();
    assert_eq!(text.lines().filter(|line| line.contains("DROP: ")).count(), 3, "{text}");
}
