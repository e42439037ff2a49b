//! Random configurations.
use super::pools::{self, once_in, pick};
use crate::testbed::conf;
use fastrand::Rng;
use pve_firewall::iptables::ruleset::Family;
use std::collections::BTreeMap;
use std::fmt::Write;

const ACTIONS: [&str; 3] = ["ACCEPT", "DROP", "REJECT"];
/// Sets by their file.
const CLUSTER_SETS: [&str; 4] = ["web", "friends", "management", "blacklist"];
const GUEST_SETS: [&str; 2] = ["own", "web"];

/// The files of a random configuration, by path.
pub fn config(rng: &mut Rng) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    files.insert("firewall/cluster.fw".to_string(), cluster(rng));
    files.insert("nodes/n1/host.fw".to_string(), host(rng));
    for (vmid, container) in [(100, false), (101, false), (200, true), (900, false)] {
        files.extend([conf(vmid, container)]);
        if vmid != 900 && !once_in(rng, 12) {
            files.insert(format!("firewall/{vmid}.fw"), guest(rng));
        }
    }
    if rng.bool() {
        more_guests(&mut files);
    }
    files
}

/// More than 32 devices, so that the chains of devices are reached through a tree. Their names begin like those of the test
/// bed; no packet uses them.
fn more_guests(files: &mut BTreeMap<String, String>) {
    let vms = (1000..1030).chain([10, 11, 102]).map(|vmid| (vmid, "qemu-server", "virtio=BC:24:11:00:00:01"));
    let containers = (2000..2008).map(|vmid| (vmid, "lxc", "name=eth0,hwaddr=BC:24:11:00:00:02"));
    for (vmid, directory, card) in vms.chain(containers) {
        let conf = format!("net0: {card},bridge=vmbr0,firewall=1\n");
        files.insert(format!("nodes/n1/{directory}/{vmid}.conf"), conf);
        files.insert(format!("firewall/{vmid}.fw"), "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT\n".into());
    }
}

fn option(rng: &mut Rng, text: &mut String, key: &str, values: &[&str]) {
    if rng.bool() {
        writeln!(text, "{key}: {}", pick(rng, values)).unwrap();
    }
}

fn cluster(rng: &mut Rng) -> String {
    let mut text = "[OPTIONS]\nenable: 1\n".to_string();
    for key in ["policy_in", "policy_out"] {
        option(rng, &mut text, key, &ACTIONS);
    }
    option(rng, &mut text, "ebtables", &["0", "1", "1"]);
    option(rng, &mut text, "log_ratelimit", &["0", "1,rate=5/second,burst=2"]);
    text += "[ALIASES]\nal 10.0.0.101\nnet 10.0.0.96/27\nal6 fd00::101\nnet6 2001:db8::/32\n";
    if once_in(rng, 3) {
        text += "local_network 203.0.113.0/24\n";
    }
    for set in CLUSTER_SETS {
        // rules may refer to the first three; the blacklist is optional
        if set != "blacklist" || once_in(rng, 3) {
            let most = if set == "blacklist" { 2 } else { 6 };
            writeln!(text, "[IPSET {set}]").unwrap();
            entries(rng, &mut text, most);
        }
    }
    for group in ["gone", "gtwo"] {
        writeln!(text, "[GROUP {group}]").unwrap();
        rules(rng, &mut text, 5, &Scope { ifaces: &[], groups: false, sets: &CLUSTER_SETS[..3] });
    }
    text += "[RULES]\n";
    rules(rng, &mut text, 4, &HOST);
    text
}

/// The section of a rule, which determines what it may refer to.
struct Scope {
    ifaces: &'static [&'static str],
    groups: bool,
    sets: &'static [&'static str],
}

const HOST: Scope = Scope { ifaces: &["vmbr0", "vmbr1", "lo"], groups: true, sets: &["web", "friends", "management"] };
const GUEST: Scope = Scope {
    ifaces: &["net0", "net1"],
    groups: true,
    sets: &["own", "web", "dc/web", "guest/own", "friends", "dc/management"],
};

fn host(rng: &mut Rng) -> String {
    let mut text = "[OPTIONS]\n".to_string();
    option(rng, &mut text, "enable", &["0", "1", "1", "1"]);
    for key in ["nosmurfs", "tcpflags", "ndp", "nf_conntrack_allow_invalid"] {
        option(rng, &mut text, key, &["0", "1"]);
    }
    for key in ["log_level_in", "log_level_out", "tcp_flags_log_level", "smurf_log_level"] {
        option(rng, &mut text, key, &pools::LEVELS);
    }
    option(rng, &mut text, "nf_conntrack_helpers", &["ftp", "ftp,sip,tftp"]);
    if once_in(rng, 4) {
        text += "protection_synflood: 1\nprotection_synflood_burst: 10000\nprotection_synflood_rate: 10000\n";
    }
    text += "[RULES]\n";
    rules(rng, &mut text, 6, &HOST);
    text
}

fn guest(rng: &mut Rng) -> String {
    let mut text = format!("[OPTIONS]\nenable: {}\n", u8::from(!once_in(rng, 12)));
    for key in ["dhcp", "ndp", "radv", "macfilter", "ips"] {
        option(rng, &mut text, key, &["0", "1"]);
    }
    option(rng, &mut text, "ipfilter", &["0", "0", "1"]);
    option(rng, &mut text, "ips_queues", &["0", "1:3"]);
    option(rng, &mut text, "layer2_protocols", &["ARP", "IPX", "ARP,IPX", "IPv4,802_1Q,PPP_SES"]);
    for key in ["policy_in", "policy_out"] {
        option(rng, &mut text, key, &["ACCEPT", "ACCEPT", "DROP", "REJECT"]);
    }
    for key in ["log_level_in", "log_level_out"] {
        option(rng, &mut text, key, &pools::LEVELS);
    }
    text += "[ALIASES]\nown-al 10.0.0.50\nal 10.0.0.254\nown-al6 fd00::50\n";
    for set in GUEST_SETS {
        writeln!(text, "[IPSET {set}]").unwrap();
        entries(rng, &mut text, 5);
    }
    if once_in(rng, 4) {
        text += "[IPSET ipfilter-net0]\n10.0.0.64/26\nfd00::/64\n!10.0.0.101\n";
        entries(rng, &mut text, 3);
    }
    text += "[RULES]\n";
    rules(rng, &mut text, 10, &GUEST);
    text
}

/// Lines of an IP set; a duplicate is reported and ignored.
fn entries(rng: &mut Rng, text: &mut String, most: usize) {
    for _ in 0..rng.usize(..=most) {
        let family = Family::ALL[rng.usize(..2)];
        let words = if rng.bool() { pools::addresses(family) } else { pools::networks(family) };
        let entry = if once_in(rng, 6) { "al" } else { pick(rng, words) };
        if !entry.contains("255.255") {
            let nomatch = if once_in(rng, 3) { "!" } else { "" };
            writeln!(text, "{nomatch}{entry}").unwrap();
        }
    }
}

fn rules(rng: &mut Rng, text: &mut String, most: usize, scope: &Scope) {
    for _ in 0..rng.usize(..=most) {
        if scope.groups && once_in(rng, 6) {
            write!(text, "GROUP {}", pick(rng, &["gone", "gtwo"])).unwrap();
            if once_in(rng, 3) {
                write!(text, " -i {}", pick(rng, scope.ifaces)).unwrap();
            }
            text.push('\n');
        } else {
            rule(rng, text, scope);
        }
    }
}

fn rule(rng: &mut Rng, text: &mut String, scope: &Scope) {
    let disabled = if once_in(rng, 15) { "|" } else { "" };
    let direction = if once_in(rng, 3) { "OUT" } else { "IN" };
    let action = pick(rng, &ACTIONS);
    let family = Family::ALL[rng.usize(..2)];
    if once_in(rng, 4) {
        write!(text, "{disabled}{direction} {}({action})", pick(rng, &pools::MACROS)).unwrap();
    } else {
        write!(text, "{disabled}{direction} {action}").unwrap();
        protocol(rng, text, family);
    }
    if !scope.ifaces.is_empty() && once_in(rng, 5) {
        write!(text, " -i {}", pick(rng, scope.ifaces)).unwrap();
    }
    for key in ["source", "dest"] {
        if once_in(rng, 3) {
            write!(text, " -{key} {}", address(rng, family, scope)).unwrap();
        }
    }
    if once_in(rng, 4) {
        write!(text, " -log {}", pick(rng, &pools::LEVELS)).unwrap();
    }
    text.push('\n');
}

fn address(rng: &mut Rng, family: Family, scope: &Scope) -> String {
    let v6 = usize::from(family == Family::V6);
    match rng.u32(..10) {
        0 | 1 => format!("+{}", pick(rng, scope.sets)),
        2 => pick(rng, &[["al", "net", "dc/al"], ["al6", "net6", "dc/al6"]][v6]).to_string(),
        3 | 9 => pick(rng, pools::RANGES[v6]).to_string(),
        4 => [pick(rng, pools::addresses(family)), pick(rng, pools::networks(family))].join(","),
        5 | 6 => pick(rng, pools::networks(family)).to_string(),
        _ => pick(rng, pools::addresses(family)).to_string(),
    }
}

fn protocol(rng: &mut Rng, text: &mut String, family: Family) {
    match rng.u32(..12) {
        0..=4 => {
            write!(text, " -p {}", pick(rng, &["tcp", "tcp", "udp", "17", "6"])).unwrap();
            for key in ["dport", "sport"] {
                if once_in(rng, if key == "dport" { 2 } else { 6 }) {
                    write!(text, " -{key} {}", pick(rng, &pools::PORT_WORDS)).unwrap();
                }
            }
        }
        5 | 6 => {
            let key = pick(rng, &["icmp-type", "dport"]);
            if family == Family::V4 {
                write!(text, " -p icmp -{key} {}", pick(rng, &pools::ICMP_WORDS)).unwrap();
            } else {
                let name = pick(rng, &["icmpv6", "ipv6-icmp"]);
                write!(text, " -p {name} -{key} {}", pick(rng, &pools::ICMPV6_WORDS)).unwrap();
            }
        }
        7 => write!(text, " -p {}", if family == Family::V4 { "icmp" } else { "icmpv6" }).unwrap(),
        8 => write!(text, " -p {}", pick(rng, &["gre", "47", "esp", "igmp", "vrrp"])).unwrap(),
        _ => {}
    }
}
