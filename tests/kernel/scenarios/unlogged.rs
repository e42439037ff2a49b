//! Traffic that a policy drops without logging, and traffic that it logs.
use super::scenario::{CLUSTER, GUEST100, HOST, Scenario};
use crate::logger::Logger;
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::probe::Probe;
use crate::testbed::{Endpoint, VM100};
use pve_firewall::iptables::ruleset::{Family, MacAddr, TcpFlags};

/// Packets that the standard chains drop without logging.
fn unlogged_packets(to: Endpoint) -> Vec<Probe> {
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
fn every_drop_is_logged_with_log_all_drops() {
    let host = "[OPTIONS]\nlog_level_in: info\nprotection_synflood: 1\nprotection_synflood_rate: 1\nprotection_synflood_burst: 1\n";
    let guest = "[OPTIONS]\nenable: 1\nlog_level_in: info\nipfilter: 1\n[IPSET ipfilter-net0]\n10.0.0.100\n";
    let options = ["--log-all-drops"];
    let cluster = "[OPTIONS]\nenable: 1\nlog_ratelimit: enable=0\n";
    let mut scenario = Scenario::with_options(&options, &[(CLUSTER, cluster), (GUEST100, guest)]);
    let logger = Logger::start(&scenario.testbed.node, scenario.root(), &[]);
    for (to, probes) in [(Host, unlogged_packets(Host)), (VM100, unlogged_packets(VM100))] {
        assert_eq!(scenario.count_arrivals(&probes), 0);
        for probe in &probes {
            // a packet that opens no connection has the state INVALID
            let dport = probe.packet.dport.unwrap();
            let line = logger.line_with(&format!("SPT={} DPT={dport} ", probe.packet.sport.unwrap()));
            assert!(line.contains(" DROP: IN="), "{to:?}: {line}");
        }
    }
    // packets of a guest, with its VMID
    let mac = Probe::tcp(VM100, Outside, Family::V4, 81).mac(MacAddr([2, 0x77, 0, 0, 0, 1]));
    let address = Probe::tcp(VM100, Outside, Family::V4, 82).source("10.0.0.7");
    let router = Probe::icmpv6(VM100, Outside, 134);
    assert_eq!(scenario.count_arrivals(&[mac, address, router]), 0);
    for text in ["DPT=81 ", "DPT=82 ", "TYPE=134 "] {
        let line = logger.line_with(text);
        assert!(line.starts_with("100 6 tap100i0-OUT ") && line.contains(" DROP: IN="), "{line}");
    }
    // SYN packets above the limit
    scenario.change(&[(HOST, host)]);
    let syn = |port| Probe::tcp(Outside, Host, Family::V4, port).source("10.0.0.77");
    assert_eq!(scenario.count_arrivals(&(3000..3010).map(syn).collect::<Vec<_>>()), 0);
    let line = logger.line_with("0 6 PVEFW-synflood ");
    assert!(line.contains(" DROP: IN=vmbr0"), "{line}");
    logger.stop();
}

#[test]
fn standard_drops_are_not_logged_and_all_others_are() {
    let host = "[OPTIONS]\nlog_level_in: info\n";
    let guest = "[OPTIONS]\nenable: 1\nlog_level_in: info\n[RULES]\nIN DROP -p tcp -dport 23 -log warning\n";
    let mut scenario = Scenario::new(&[(HOST, host), (GUEST100, guest)]);
    let logger = Logger::start(&scenario.testbed.node, scenario.root(), &[]);
    for (to, prefix) in [(Host, "0 6 PVEFW-HOST-IN "), (VM100, "100 6 tap100i0-IN ")] {
        assert_eq!(scenario.count_arrivals(&unlogged_packets(to)), 0);
        // a packet sent after them: when it is in the log, they would be too
        assert_eq!(scenario.count_arrivals(&[Probe::tcp(Outside, to, Family::V4, 9999)]), 0);
        let line = logger.line_with(&format!(" policy DROP: IN={}", if to == Host { "vmbr0" } else { "fwbr100i0" }));
        assert!(line.starts_with(prefix) && line.contains("DPT=9999"), "{line}");
    }
    assert_eq!(scenario.count_arrivals(&[Probe::tcp(Outside, VM100, Family::V4, 23)]), 0);
    let line = logger.line_with("DPT=23 ");
    assert!(line.starts_with("100 4 tap100i0-IN ") && line.contains(" DROP: "), "{line}");
    let text = logger.stop();
    assert_eq!(text.lines().filter(|line| line.contains("DROP: ")).count(), 3, "{text}");
}
