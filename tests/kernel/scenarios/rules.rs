//! Rule parameters: groups, macros, aliases, sets, ranges, lists, ports, ICMP types.
use super::scenario::{CLUSTER, GUEST100, Scenario};
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::ruleset::Family;

const RULES: &str = "[OPTIONS]
enable: 1
[ALIASES]
desk 10.0.0.50
desk6 fd00::50
[IPSET friends]
10.0.0.0/24
!10.0.0.51
dc/partner
2001:db8::/32
!2001:db8::6
[RULES]
GROUP web
IN SSH(ACCEPT) -source desk
IN SSH(ACCEPT) -source guest/desk6
IN ACCEPT -p tcp -dport 81 -source +friends
IN ACCEPT -p tcp -dport 82 -source 10.0.0.50-10.0.0.60
IN ACCEPT -p tcp -dport 83 -source 10.0.0.51,203.0.113.0/24
|IN ACCEPT -p tcp -dport 84
IN ACCEPT -p tcp -dport 85:87,100
IN ACCEPT -p udp -dport domain
IN ACCEPT -p udp -sport 5353
IN Ping(ACCEPT)
IN ACCEPT -p icmp -icmp-type 13
IN ACCEPT -p gre
IN DENY -p tcp -dport 9000 -source desk
IN ACCEPT -p tcp -dport 9000
IN ACCEPT -p tcp -dport 9001 -dest +dc/own
";

const CLUSTER_FILE: &str = "[OPTIONS]
enable: 1
[ALIASES]
partner 203.0.113.77
[IPSET own]
10.0.0.100
[IPSET blacklist]
203.0.113.66
2001:db8::66
[RULES]
IN HTTP(ACCEPT)
[group web]
IN HTTP(ACCEPT)
IN ACCEPT -p tcp -dport 443 -source dc/partner
";

fn tcp(port: u16, source: &str) -> Probe {
    let family = if source.contains(':') { Family::V6 } else { Family::V4 };
    Probe::tcp(Outside, VM100, family, port).source(source)
}

#[test]
fn rules_match_their_parameters() {
    let mut scenario = Scenario::new(&[(CLUSTER, CLUSTER_FILE), (GUEST100, RULES)]);
    let accepted = [
        tcp(80, "10.0.0.51"),
        tcp(80, "fd00::50"),
        tcp(443, "203.0.113.77"),
        tcp(22, "10.0.0.50"),
        tcp(22, "fd00::50"),
        tcp(81, "10.0.0.50"),
        tcp(81, "203.0.113.77"),
        tcp(81, "2001:db8::5"),
        tcp(82, "10.0.0.50"),
        tcp(82, "10.0.0.60"),
        tcp(83, "10.0.0.51"),
        tcp(83, "203.0.113.200"),
        tcp(85, "10.0.0.50"),
        tcp(87, "fd00::50"),
        tcp(100, "10.0.0.51"),
        Probe::udp(Outside, VM100, Family::V4, 53),
        Probe::udp(Outside, VM100, Family::V6, 7).ports(5353, 7),
        Probe::icmp(Outside, VM100, 8),
        Probe::icmpv6(Outside, VM100, 128),
        Probe::icmp(Outside, VM100, 13),
        Probe::new(Outside, VM100, Family::V4, 47),
        tcp(9000, "10.0.0.51"),
        tcp(9001, "10.0.0.51"),
    ];
    scenario.check_all(ProbeResult::Arrived, accepted);
    let dropped = [
        tcp(443, "10.0.0.50"),
        tcp(22, "10.0.0.51"),
        tcp(22, "fd00::51"),
        tcp(81, "10.0.0.51"),
        tcp(81, "203.0.113.5"),
        tcp(81, "2001:db8::6"),
        tcp(82, "10.0.0.49"),
        tcp(82, "10.0.0.61"),
        tcp(83, "10.0.0.50"),
        tcp(84, "10.0.0.50"),
        tcp(88, "10.0.0.50"),
        tcp(101, "10.0.0.50"),
        Probe::udp(Outside, VM100, Family::V4, 54),
        Probe::icmp(Outside, VM100, 17),
        Probe::new(Outside, VM100, Family::V4, 50),
        tcp(9000, "10.0.0.50"),
        tcp(9001, "10.0.0.51").dest("10.0.0.99"),
    ];
    scenario.check_all(ProbeResult::Dropped, dropped);
}

#[test]
fn the_blacklist_applies_to_host_and_guests() {
    let mut scenario = Scenario::new(&[(CLUSTER, CLUSTER_FILE), (GUEST100, RULES)]);
    let to_host = |source| Probe::tcp(Outside, Host, Family::V4, 80).source(source);
    scenario.check(&[
        (tcp(80, "203.0.113.66"), ProbeResult::Dropped),
        (tcp(80, "2001:db8::66"), ProbeResult::Dropped),
        (tcp(80, "203.0.113.67"), ProbeResult::Arrived),
        (to_host("203.0.113.66"), ProbeResult::Dropped),
        (to_host("203.0.113.67"), ProbeResult::Arrived),
        // it applies to source addresses of incoming packets, not to destinations of guests
        (Probe::tcp(VM100, Outside, Family::V4, 80).dest("203.0.113.66"), ProbeResult::Arrived),
    ]);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let guest = "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -p tcp -dport 80\nIN ACCEPT\nOUT DROP -p udp\nOUT ACCEPT\n";
    let mut scenario = Scenario::new(&[(GUEST100, guest)]);
    scenario.check(&[
        (tcp(80, "10.0.0.50"), ProbeResult::Dropped),
        (tcp(81, "10.0.0.50"), ProbeResult::Arrived),
        (Probe::udp(VM100, Outside, Family::V4, 81), ProbeResult::Dropped),
        (Probe::tcp(VM100, Outside, Family::V4, 81), ProbeResult::Arrived),
    ]);
}
