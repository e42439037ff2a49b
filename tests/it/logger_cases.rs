//! The log line of every kind of packet: recorded messages of the kernel, and synthetic packets.
use crate::nflog::{TIME, conntrack, fields_of, ipv4, ipv6, line_of, message};
use pve_firewall::nflog::netlink::Request;
use serde::Deserialize;
use std::collections::BTreeMap;

const IPV4: u8 = 2;
const ARP: u8 = 3;
const NETDEV: u8 = 5;
const BRIDGE: u8 = 7;
const IPV6: u8 = 10;

/// Intended differences from the official logger, by name.
const CORRECTED: [(&str, &str, &str); 4] = [
    ("v4-prefix-vmid-over-i32", "-2147483648 6 c", "2147483648 6 c"),
    ("v4-prefix-vmid-u32max", "-1 6 c", "4294967295 6 c"),
    ("v4-prefix-control-chars", "a\tb\x1b[31m ", "a\\x09b\\x1b[31m "),
    (
        "bf-ip4-ihl0",
        "SRC=10.99.0.1 DST=10.99.0.2 LEN=40 TOS=0x00 PREC=0x00 TTL=64 ID=4660 PROTO=TCP SPT=16384 DPT=40 \
         SEQ=305397760 ACK=1074157780 WINDOW=1 URG SYN FIN URGP=2",
        "INVALID=IHL",
    ),
];

#[derive(Deserialize)]
struct Case {
    name: String,
    nflog_msg_hex: String,
    ifnames: BTreeMap<u32, String>,
    line: String,
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn recorded_messages_give_the_recorded_lines() {
    let cases: Vec<Case> =
        include_str!("../logger/cases.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() > 150);
    let mut corrected = 0;
    for case in cases {
        let mut expected = case.line.replace("<TIME>", TIME);
        if let Some((_, official, corrected_text)) = CORRECTED.iter().find(|(name, ..)| *name == case.name) {
            assert!(expected.contains(official), "{}", case.name);
            expected = expected.replace(official, corrected_text);
            corrected += 1;
        }
        let message = unhex(&case.nflog_msg_hex);
        let line = at_fixed_time(&line_of(&message, case.ifnames));
        assert_eq!(line, format!("{}\n", expected.trim_end()), "{}", case.name);
    }
    assert_eq!(corrected, CORRECTED.len());
}

/// The line with its date replaced by that of the fixed clock.
fn at_fixed_time(line: &str) -> String {
    let date = regex::Regex::new(r"\d\d/Nov/2026:\d\d:\d\d:\d\d \+0000").unwrap();
    date.replace(line, TIME).into_owned()
}

/// The fields from `PROTO=` (or its replacement) on, for a packet from 10.0.0.1 to 10.0.0.2.
fn v4_fields(protocol: u8, fragment: u16, rest: &[u8]) -> String {
    let fields = fields_of(message(IPV4, 0x0800, &ipv4(protocol, fragment, rest)));
    let head = format!("SRC=10.0.0.1 DST=10.0.0.2 LEN={} TOS=0x00 PREC=0x00 TTL=64 ID=4660 ", 20 + rest.len());
    fields.strip_prefix(&head).unwrap_or_else(|| panic!("{fields}")).to_string()
}

fn v6_fields(next: u8, rest: &[u8]) -> String {
    let fields = fields_of(message(IPV6, 0x86dd, &ipv6(next, rest)));
    let head = format!("SRC=fd00::1 DST=fd00::2 LEN={} TC=0 FLOWLBL=0 HOPLIMIT=64 ", rest.len());
    fields.strip_prefix(&head).unwrap_or_else(|| panic!("{fields}")).to_string()
}

const UDP: [u8; 8] = [0, 53, 0, 54, 0, 8, 0, 0];

#[test]
fn fields_of_ipv4_fragments_and_protocols_are_logged() {
    let echo = [8, 3, 0, 0, 0, 1, 0, 2];
    for (protocol, fragment, rest, fields) in [
        (17, 0x4000, &UDP[..], "DF PROTO=UDP SPT=53 DPT=54 LEN=8"),
        (17, 0x2000, &UDP, "MF PROTO=UDP SPT=53 DPT=54 LEN=8"),
        (17, 0x6000, &UDP, "DF MF PROTO=UDP SPT=53 DPT=54 LEN=8"),
        // later fragments have no ports, regardless of their first bytes
        (17, 0x00b9, &UDP, "FRAG=185 PROTO=UDP"),
        (17, 0x3fff, &UDP, "FRAG=8191 MF PROTO=UDP"),
        (6, 0x0001, &[], "FRAG=1 PROTO=TCP"),
        (1, 0x0001, &echo, "FRAG=1 PROTO=ICMP"),
        (51, 0, &[], "PROTO=AH"),
        (50, 0, &[1], "PROTO=ESP"),
        (2, 0, &[], "PROTO=IGMP"),
        (58, 0, &[], "PROTO=58"),
        // a packet that ends after its IPv4 header is valid
        (6, 0, &[], "PROTO=TCP LEN=0 INVALID=LEN"),
        (1, 0, &[], "PROTO=ICMP LEN=0 INVALID=LEN"),
        (47, 0, &[], "PROTO=47"),
    ] {
        assert_eq!(v4_fields(protocol, fragment, rest), fields);
    }
}

#[test]
fn invalid_ipv4_header_lengths_are_reported() {
    let packet = |first: u8| {
        let mut packet = ipv4(17, 0, &UDP);
        packet[0] = first;
        fields_of(message(IPV4, 0x0800, &packet))
    };
    for first in 0x40..=0x44 {
        assert_eq!(packet(first), "INVALID=IHL");
    }
    assert!(packet(0x46).ends_with("PROTO=UDP LEN=4 INVALID=LEN"), "{}", packet(0x46));
    assert!(packet(0x47).ends_with("PROTO=UDP LEN=0 INVALID=LEN"), "{}", packet(0x47));
    assert_eq!(packet(0x48), "INVALID=IHL");
    assert_eq!(fields_of(message(IPV4, 0x0800, &[0x45; 19])), "LEN=19 INVALID=LEN");
    assert_eq!(fields_of(message(IPV4, 0x0800, &[])), "LEN=0 INVALID=LEN");
}

#[test]
fn fields_of_each_icmp_type_are_logged() {
    for (rest, fields) in [
        ([0, 0, 0, 0, 0x12, 0x34, 0, 9], "TYPE=0 CODE=0 ID=4660 SEQ=9"),
        ([8, 3, 0, 0, 0, 1, 0, 2], "TYPE=8 CODE=3 ID=1 SEQ=2"),
        ([3, 4, 0, 0, 0, 0, 5, 0xdc], "TYPE=3 CODE=4 MTU=1500"),
        ([3, 1, 0, 0, 0, 0, 5, 0xdc], "TYPE=3 CODE=1"),
        ([5, 1, 0, 0, 10, 0, 0, 254], "TYPE=5 CODE=1 GATEWAY=10.0.0.254"),
        ([12, 0, 0, 0, 20, 0, 0, 0], "TYPE=12 CODE=0 PARAMETER=20"),
        ([11, 0, 0, 0, 1, 2, 3, 4], "TYPE=11 CODE=0"),
    ] {
        assert_eq!(v4_fields(1, 0, &rest), format!("PROTO=ICMP {fields}"));
    }
}

#[test]
fn fields_of_each_icmpv6_type_are_logged() {
    let mut advertisement = vec![134, 0, 0, 0, 64, 0x80, 0xff, 0xff];
    advertisement.extend([0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0]);
    let mut redirect = vec![137, 0, 0, 0, 0, 0, 0, 0];
    redirect.extend(ipv6(0, &[])[8..].iter());
    for (rest, fields) in [
        (&[128, 7, 0, 0, 0, 1, 0, 2][..], "TYPE=128 CODE=7 ID=1 SEQ=2"),
        (&[129, 0, 0, 0, 0, 1, 0, 2], "TYPE=129 CODE=0 ID=1 SEQ=2"),
        (&[2, 1, 0, 0, 0, 0, 5, 0xdc], "TYPE=2 CODE=1 MTU=1500"),
        // the problem is shown by its code, not by the pointer
        (&[4, 0, 0, 0, 0, 0, 0, 2], "TYPE=4 CODE=0 PARAMETER=HEADER"),
        (&[4, 1, 0, 0, 0, 0, 0, 40], "TYPE=4 CODE=1 PARAMETER=NEXTHEADER"),
        (&[4, 2, 0, 0, 0, 0, 0, 0], "TYPE=4 CODE=2 PARAMETER=OPTION"),
        (&[4, 3, 0, 0, 0, 0, 0, 1], "TYPE=4 CODE=3 PARAMETER=3"),
        (&[136, 0, 0, 0, 0x60, 0, 0, 0], "TYPE=136 CODE=0 NA=60000000"),
        (&[1, 4, 0, 0, 0, 0, 0, 0], "TYPE=1 CODE=4"),
        (&advertisement, "TYPE=134 CODE=0 HOPLIMIT=64 RA=80 LIFETIME=65535 REACHABLE=4294967295 RETRANSMIT=2147483648"),
        (&redirect, "TYPE=137 CODE=0 TARGET=fd00::1 GATEWAY=fd00::2"),
        (&advertisement[..15], "LEN=15 INVALID=LEN"),
        (&redirect[..39], "LEN=39 INVALID=LEN"),
    ] {
        assert_eq!(v6_fields(58, rest), format!("PROTO=ICMPV6 {fields}"));
    }
}

/// An extension header of 8 bytes with this next header.
fn extension(next: u8, rest: [u8; 6]) -> Vec<u8> {
    [[next, 0].as_slice(), &rest].concat()
}

#[test]
fn fields_of_the_ipv6_header_are_logged() {
    let mut packet = ipv6(59, &[]);
    packet[..4].copy_from_slice(&[0x6a, 0xb1, 0x23, 0x45]);
    let fields = fields_of(message(IPV6, 0x86dd, &packet));
    assert_eq!(fields, "SRC=fd00::1 DST=fd00::2 LEN=0 TC=171 FLOWLBL=74565 HOPLIMIT=64 PROTO=59");
}

#[test]
fn fields_of_ipv6_fragments_are_logged() {
    for (fields_of_header, rest, fields) in [
        // the first fragment: offset 0, MF set, ports
        ([0, 1, 0xff, 0xff, 0xff, 0xff], &UDP[..], "FRAG=0 ID=4294967295 MF PROTO=UDP SPT=53 DPT=54 LEN=8"),
        ([5, 0xa8, 0, 0, 0, 1], &UDP, "FRAG=181 ID=1 PROTO=UDP"),
        ([5, 0xa9, 0, 0, 0, 1], &UDP, "FRAG=181 ID=1 MF PROTO=UDP"),
        // the last fragment; the reserved bits are not part of the offset
        ([0, 6, 0, 0, 0, 2], &[], "FRAG=0 ID=2 PROTO=UDP LEN=0 INVALID=LEN"),
    ] {
        let mut header = extension(17, fields_of_header);
        // the second byte is reserved, not a length
        header[1] = 200;
        header.extend(rest);
        assert_eq!(v6_fields(44, &header), fields);
    }
    let mut later = extension(60, [0, 8, 0, 0, 0, 1]);
    later.extend([0; 16]);
    assert_eq!(v6_fields(44, &later), "FRAG=1 ID=1 PROTO=60", "data of a later fragment is not a header");
}

#[test]
fn fields_of_ipv6_routing_headers_are_logged() {
    let home: Vec<u8> = ipv6(0, &[])[8..24].to_vec();
    let type_2 = [&[17, 2, 2, 1, 0, 0, 0, 0][..], &home, &UDP].concat();
    let type_0 = [&[17, 2, 0, 1, 0, 0, 0, 0][..], &home, &UDP].concat();
    let without_home = [&[17, 0, 2, 1, 0, 0, 0, 0][..], &UDP].concat();
    for (rest, fields) in [
        (&type_2[..], "TYPE=2 SEGMENTS=1 HOME=fd00::1 PROTO=UDP SPT=53 DPT=54 LEN=8"),
        (&type_0, "TYPE=0 SEGMENTS=1 PROTO=UDP SPT=53 DPT=54 LEN=8"),
        (&without_home, "TYPE=2 SEGMENTS=1 LEN=16 INVALID=LEN"),
        (&type_2[..23], "PROTO=43 LEN=23 INVALID=LEN"),
    ] {
        assert_eq!(v6_fields(43, rest), fields);
    }
}

#[test]
fn ipv6_extension_headers_end_where_the_packet_ends() {
    assert_eq!(v6_fields(135, &extension(59, [0; 6])), "NEXTHDR=MH PROTO=59");
    for (next, rest, fields) in [
        (0, &[17, 1, 0, 0, 0, 0, 0, 0][..], "NEXTHDR=HOPOPTS LEN=8 INVALID=LEN"),
        (60, &[17, 255, 0, 0, 0, 0, 0, 0], "NEXTHDR=DSTOPTS LEN=8 INVALID=LEN"),
        (135, &[17], "NEXTHDR=MH LEN=1 INVALID=LEN"),
        (44, &[17, 0, 0], "PROTO=44 LEN=3 INVALID=LEN"),
        (43, &[], "PROTO=43 LEN=0 INVALID=LEN"),
    ] {
        assert_eq!(v6_fields(next, rest), fields);
    }
}

#[test]
fn sixteen_extension_headers_are_shown_then_the_last_protocol() {
    let mut rest: Vec<u8> = (0..39).flat_map(|_| extension(60, [0; 6])).collect();
    rest.extend(extension(17, [0; 6]));
    rest.extend(UDP);
    let expected = format!("{}PROTO=UDP SPT=53 DPT=54 LEN=8", "NEXTHDR=DSTOPTS ".repeat(16));
    assert_eq!(v6_fields(60, &rest), expected);
}

#[test]
fn packets_of_any_length_are_decoded() {
    let large = [&UDP[..], &[0; 60_000]].concat();
    assert_eq!(v4_fields(17, 0, &large), "PROTO=UDP SPT=53 DPT=54 LEN=8");
}

#[test]
fn arp_operations_are_logged() {
    let arp = |operation: u8| {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
        packet.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
        packet
    };
    for (operation, fields) in [(1, "REQUEST"), (2, "REPLY MAC=02:00:00:00:00:01"), (10, "NAK"), (3, "CODE=3")] {
        let expected = format!("SRC=10.0.0.1 DST=10.0.0.2 PROTO=ARP {fields}");
        assert_eq!(fields_of(message(BRIDGE, 0x0806, &arp(operation))), expected);
        assert_eq!(fields_of(message(ARP, 0x0806, &arp(operation))), expected);
        assert_eq!(fields_of(message(NETDEV, 0x0806, &arp(operation))), expected);
    }
}

#[test]
fn frames_of_the_netdev_family_are_read_by_their_protocol() {
    let v4 = fields_of(message(NETDEV, 0x0800, &ipv4(17, 0, &UDP)));
    assert_eq!(v4, fields_of(message(IPV4, 0x0800, &ipv4(17, 0, &UDP))));
    let v6 = fields_of(message(NETDEV, 0x86dd, &ipv6(17, &UDP)));
    assert_eq!(v6, fields_of(message(IPV6, 0x86dd, &ipv6(17, &UDP))));
}

#[test]
fn outgoing_frames_begin_with_their_link_header() {
    let header = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x06];
    let arp = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
    for family in [ARP, NETDEV] {
        let outgoing = |payload: &[u8]| fields_of(message(family, 0x0806, payload).with(1, &[0x08, 0x06, 1, 0]));
        let expected = "MAC=02:00:00:00:00:02:02:00:00:00:00:01:08:06 SRC=10.0.0.1 DST=10.0.0.2 PROTO=ARP REQUEST";
        assert_eq!(outgoing(&[&header[..], &arp].concat()), expected);
        // a device without link headers
        assert_eq!(outgoing(&arp), "SRC=10.0.0.1 DST=10.0.0.2 PROTO=ARP REQUEST");
        assert_eq!(outgoing(&header[..13]), "LEN=13 INVALID=LEN");
    }
}

#[test]
fn the_timestamp_of_the_packet_is_used_if_present() {
    let at = |seconds: i64| {
        let time = [seconds.to_be_bytes(), [0; 8]].concat();
        let bytes = message(IPV4, 0x0800, &[]).with(3, &time).bytes();
        line_of(&bytes, BTreeMap::new()).split(' ').nth(3).unwrap().to_string()
    };
    assert_eq!(at(1_795_419_420), "23/Nov/2026:07:37:00");
    // without a timestamp, or with one out of range, the clock's time is used
    for none in [0, -1, i64::MAX, i64::MIN, 253_402_300_800] {
        assert_eq!(at(none), "23/Nov/2026:07:36:59");
    }
}

#[test]
fn a_message_without_payload_has_a_line() {
    let request = Request::new(0x0400, 0, 0, &[BRIDGE, 0, 0, 0]).with(1, &[0x12, 0x34, 2, 0]);
    let with_link = request.clone().with(16, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x12, 0x34]);
    let line = line_of(&with_link.bytes(), BTreeMap::new());
    assert_eq!(line, format!("0 6 - {TIME} MAC=ff:ff:ff:ff:ff:ff:02:00:00:00:00:01:12:34\n"));
    assert_eq!(line_of(&request.bytes(), BTreeMap::new()), format!("0 6 - {TIME} LEN=0 INVALID=LEN\n"));
    assert_eq!(line_of(&[], BTreeMap::new()), format!("0 6 - {TIME} LEN=0 INVALID=LEN\n"));
}

#[test]
fn unknown_or_malformed_attributes_do_not_affect_others() {
    let request = message(IPV4, 0x0800, &ipv4(17, 0, &UDP)).with(99, b"?").with(2, &[0, 0, 9]).with(4, &[0, 0, 0, 7]);
    let mut bytes = request.bytes();
    // an attribute whose length exceeds the message
    bytes.extend([200, 0, 2, 0, 0, 0, 0, 9]);
    let line = line_of(&bytes, BTreeMap::new());
    assert!(line.contains("policy DROP: IN=7 SRC=10.0.0.1 "), "an unknown index is shown as a number: {line}");
    assert!(line.ends_with("PROTO=UDP SPT=53 DPT=54 LEN=8\n"), "{line}");
}

#[test]
fn a_prefix_cannot_contain_a_line_break() {
    for (prefix, line) in [
        (&b":100:6:c: a\nb \0"[..], format!("100 6 c {TIME} a\\x0ab mark=1\n")),
        (b"\n1 6 x \0", format!("0 6 - {TIME} \\x0a1 6 x mark=1\n")),
        (b":100:6:\x1b: m\0", format!("100 6 \\x1b {TIME} mmark=1\n")),
        (b"\xff\xfe\0after", format!("0 6 - {TIME} \\xff\\xfemark=1\n")),
    ] {
        let request = Request::new(0x0400, 0, 0, &[0; 4]).with(10, prefix).with(2, &[0, 0, 0, 1]);
        assert_eq!(line_of(&request.bytes(), BTreeMap::new()), line);
    }
}

#[test]
fn log_parsers_find_their_fields() {
    let request = message(IPV4, 0x0800, &ipv4(17, 0, &UDP)).with(4, &[0, 0, 0, 1]).with(5, &[0, 0, 0, 2]);
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let request = request.with(6, &[0, 0, 0, 3]).with(7, &[0, 0, 0, 4]).with(16, &ethernet);
    let names = ["fwbr100i0", "fwbr100i0", "fwln100i0", "tap100i0"];
    let names = (1..).zip(names.map(String::from)).collect();
    let line = line_of(&request.bytes(), names);
    // the order of fields in CrowdSec's pattern for this log
    let pattern = r"^(?P<vmid>\d+) (?P<loglevel>\d) (?P<chain>\S+)-(IN|OUT) (?P<date>\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}) (policy )?(?P<action>ACCEPT|DROP|REJECT): (IN=\S+ )?(OUT=\S+ )?(PHYSIN=\S+ )?(PHYSOUT=\S+ )?(MAC=\S+ )?SRC=\S+ DST=\S+ LEN=\d+ .*PROTO=UDP SPT=53 DPT=54 LEN=8\n$";
    assert!(regex::Regex::new(pattern).unwrap().is_match(&line), "{line}");
    // the web interface splits at single blanks, and shows a guest the lines that begin with its VMID
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(&words[3..5], &["23/Nov/2026:07:36:59", "+0000"]);
    assert!(line.starts_with("100 ") && !line.contains("  "));
    assert!(line.contains("policy DROP: IN"));
}

#[test]
fn only_created_and_deleted_connections_have_lines() {
    let created = Request::new(0x0100, 0x600, 0, &[2, 0, 0, 0]);
    assert_eq!(conntrack(created).unwrap(), "    [NEW] ipv4     2 unknown  0\n");
    assert_eq!(conntrack(Request::new(0x0100, 0, 0, &[2, 0, 0, 0])), None);
    assert_eq!(conntrack(Request::new(0x0101, 0x600, 0, &[2, 0, 0, 0])), None);
    let gone = Request::new(0x0102, 0, 0, &[10, 0, 0, 0]);
    assert_eq!(conntrack(gone).unwrap(), "[DESTROY] ipv6     10 unknown  0\n");
}

#[test]
fn conntrack_lines_show_state_mark_and_zone() {
    let request = Request::new(0x0102, 0, 0, &[2, 0, 0, 0])
        .with(3, &(1_u32 << 2 | 1 << 1).to_be_bytes())
        .with(4, &[12, 0, 1, 0x80, 5, 0, 1, 0, 3, 0, 0, 0])
        .with(8, &7_u32.to_be_bytes())
        .with(18, &[0, 5]);
    assert_eq!(conntrack(request).unwrap(), "[DESTROY] ipv4     2 unknown  0 ESTABLISHED [ASSURED] mark=7 zone=5\n");
}

/// The duration is computed as in conntrack(8): from 0.9 s to 2.1 s is two seconds.
#[test]
fn the_duration_of_a_connection_is_the_difference_of_whole_seconds() {
    let times = [(1, 900_000_000_u64), (2, 2_100_000_000)];
    let times = times.map(|(kind, moment)| [&[12, 0, kind, 0][..], &moment.to_be_bytes()].concat()).concat();
    let line = conntrack(Request::new(0x0102, 0, 0, &[2, 0, 0, 0]).with(20, &times)).unwrap();
    let (start, stop) = ("[start=Mon Nov 23 00:00:00 2026]", "[stop=Mon Nov 23 00:00:02 2026]");
    assert_eq!(line, format!("[DESTROY] ipv4     2 unknown  0 delta-time=2 {start} {stop}\n"));
}
