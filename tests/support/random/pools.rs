//! Values for random configurations and packets: few, so that rules match packets.
use fastrand::Rng;
use pve_firewall::iptables::ruleset::Family;

/// One of several.
pub fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.usize(..words.len())]
}

/// True once in `n` times.
pub fn once_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

/// Source and destination addresses: those of the test bed, and unused ones.
pub fn addresses(family: Family) -> &'static [&'static str] {
    match family {
        Family::V4 => &[
            "10.0.0.1",
            "10.0.0.254",
            "10.0.0.50",
            "10.0.0.51",
            "10.0.0.100",
            "10.0.1.100",
            "10.0.0.101",
            "10.0.0.200",
            "10.0.0.150",
            "203.0.113.5",
            "203.0.113.77",
            "198.51.100.1",
        ],
        Family::V6 => &[
            "fd00::1",
            "fd00::254",
            "fd00::50",
            "fd00::100",
            "fd00:0:0:1::100",
            "fd00::101",
            "fd00::200",
            "2001:db8::5",
            "2001:db8:1::77",
        ],
    }
}

/// Networks that contain some of the addresses.
pub fn networks(family: Family) -> &'static [&'static str] {
    match family {
        Family::V4 => &[
            "10.0.0.0/24",
            "10.0.0.96/27",
            "10.0.0.0/8",
            "203.0.113.0/24",
            "203.0.113.64/26",
            "192.0.0.0/3",
            "10.0.0.100/31",
            "10.0.0.48/255.255.255.240",
        ],
        Family::V6 => &["fd00::/16", "fd00::/64", "2001:db8::/32", "2001:db8:1::/48", "fe80::/10", "fd00::100/127"],
    }
}

pub const RANGES: [&[&str]; 2] = [
    &["10.0.0.100-10.0.0.101", "10.0.0.0-10.0.0.99", "203.0.113.1-203.0.113.5"],
    &["fd00::50-fd00::100", "2001:db8::1-2001:db8::ffff"],
];

/// Addresses that are not unicast.
pub fn not_unicast(family: Family) -> &'static [&'static str] {
    match family {
        Family::V4 => &["10.0.0.255", "255.255.255.255", "224.0.0.251", "239.1.2.3", "10.0.1.255"],
        Family::V6 => &["ff02::1", "ff02::fb", "ff05::1:3"],
    }
}

pub const PORTS: [u16; 26] = [
    0, 21, 22, 25, 43, 53, 67, 68, 80, 123, 135, 137, 139, 443, 445, 546, 547, 1900, 3128, 5405, 5412, 5950, 8006,
    8080, 60_025, 50_000,
];

pub const PORT_WORDS: [&str; 16] = [
    "22",
    "80",
    "80,443",
    "1:1023",
    "22,80:90,443",
    "53",
    "ssh",
    "0:65535",
    "137:139",
    "8006",
    "5900:5999",
    "123,53",
    "0",
    "25,110,143",
    "1024:65535",
    "443",
];

pub const MACROS: [&str; 14] = [
    "SSH",
    "HTTP",
    "Web",
    "DNS",
    "Ping",
    "SMB",
    "Ceph",
    "Mail",
    "NTP",
    "DHCPfwd",
    "NeighborDiscovery",
    "GRE",
    "IPsec",
    "Trcrt",
];
pub const ICMP_WORDS: [&str; 8] =
    ["any", "echo-request", "echo-reply", "destination-unreachable", "port-unreachable", "time-exceeded", "8", "13"];
pub const ICMPV6_WORDS: [&str; 7] = [
    "echo-request",
    "neighbor-solicitation",
    "router-advertisement",
    "packet-too-big",
    "destination-unreachable",
    "port-unreachable",
    "128",
];
pub const LEVELS: [&str; 4] = ["info", "nolog", "debug", "alert"];
