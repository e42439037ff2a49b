//! The log lines of traces of nftables: recorded messages of the kernel, and synthetic ones.
use super::logger_cases::unhex;
use crate::nflog::{TIME, ipv4, ipv6, trace_step, traces};
use pve_firewall::nflog::netlink::Request;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `NFT_TRACETYPE_…`
const POLICY: u32 = 1;
const RETURN: u32 = 2;
const RULE: u32 = 3;
const INET: u8 = 1;
const BRIDGE: u8 = 7;

#[derive(Deserialize)]
struct Case {
    name: String,
    messages: Vec<String>,
    interfaces: BTreeMap<u32, String>,
    lines: Vec<String>,
}

#[test]
fn recorded_steps_give_their_lines() {
    for case in include_str!("../logger/traces.jsonl").lines() {
        let case: Case = serde_json::from_str(case).unwrap();
        let datagram: Vec<u8> = case.messages.iter().flat_map(|message| unhex(message)).collect();
        let expected: String = case.lines.iter().map(|line| format!("{}\n", line.replace("<TIME>", TIME))).collect();
        assert_eq!(traces(&datagram, case.interfaces), expected, "{}", case.name);
    }
}

/// What a step's line has after `TIME trace id ID `.
fn text(step: Request) -> String {
    let line = traces(&step.bytes(), BTreeMap::new());
    let head = format!("0 7 c {TIME} trace id 1234abcd ");
    line.strip_prefix(&head).and_then(|rest| rest.strip_suffix('\n')).unwrap_or_else(|| panic!("{line}")).to_string()
}

/// A verdict with this code and chain.
fn with_verdict(step: Request, code: i32, chain: &[u8]) -> Request {
    // a request without header is the attributes
    let attributes = Request::new(0, 0, 0, &[]).with(1, &code.to_be_bytes()).with(2, chain).bytes();
    step.with(5, &attributes[16..])
}

#[test]
fn verdicts_are_those_of_nft() {
    let rule = || trace_step(INET, RULE).with(3, &7_u64.to_be_bytes());
    for (code, verdict) in [
        (0, "drop"),
        (1, "accept"),
        (2, "stolen"),
        (3 | 5 << 16, "queue"),
        (4, "repeat"),
        (5, "stop"),
        (6, "6"),
        (-1, "continue"),
        (-2, "break"),
        (-3, "jump guest-100-in"),
        (-4, "goto guest-100-in"),
        (-5, "return"),
        (-6, "-6"),
    ] {
        assert_eq!(text(with_verdict(rule(), code, b"guest-100-in\0")), format!("inet t rule 7 verdict {verdict}"));
    }
    assert_eq!(text(with_verdict(rule(), -3, b"")), "inet t rule 7 verdict jump -");
    assert_eq!(text(rule()), "inet t rule 7");
}

#[test]
fn families_and_kinds_of_steps_are_named() {
    for (family, name) in
        [(1, "inet"), (2, "ip"), (3, "arp"), (5, "netdev"), (7, "bridge"), (10, "ip6"), (99, "family 99")]
    {
        let policy = trace_step(family, POLICY).with(16, &1_u32.to_be_bytes());
        assert_eq!(text(policy), format!("{name} t policy accept"));
    }
    assert_eq!(text(trace_step(INET, POLICY).with(16, &0_u32.to_be_bytes())), "inet t policy drop");
    assert_eq!(text(with_verdict(trace_step(INET, RETURN), -1, b"")), "inet t verdict continue");
    assert_eq!(text(trace_step(INET, 9)), "inet t type 9");
    let named = trace_step(INET, RULE).with(1, b"a: b\n\0").with(2, b"c: \xff\0");
    let line = traces(&named.bytes(), BTreeMap::new());
    assert_eq!(line, format!("0 7 c\\x3a\\x20\\xff {TIME} trace id 1234abcd inet a\\x3a\\x20b\\x0a\n"));
}

/// The fields of a packet in a table `inet`, of `NFPROTO_…`.
fn fields(packet_family: u32, network: &[u8], transport: Option<&[u8]>) -> String {
    let step = trace_step(INET, RULE).with(8, network).with(15, &packet_family.to_be_bytes());
    let step = transport.iter().fold(step, |step, header| step.with(9, header));
    let text = text(step);
    text.strip_prefix("inet t: ").unwrap_or_else(|| panic!("{text}")).to_string()
}

#[test]
fn truncated_headers_are_reported_only_if_the_packet_ends_there() {
    let v4 = "SRC=10.0.0.1 DST=10.0.0.2 LEN=20 TOS=0x00 PREC=0x00 TTL=64 ID=4660";
    let tcp = ipv4(6, 0, &[]);
    assert_eq!(fields(2, &tcp, Some(&[])), format!("{v4} PROTO=TCP LEN=0 INVALID=LEN"));
    assert_eq!(fields(2, &tcp, Some(&[0; 19])), format!("{v4} PROTO=TCP LEN=19 INVALID=LEN"));
    assert_eq!(fields(2, &tcp, Some(&[0; 20])), format!("{v4} PROTO=TCP SPT=0 DPT=0 SEQ=0 ACK=0 WINDOW=0"));
    assert_eq!(fields(2, &tcp[..19], None), "LEN=19 INVALID=LEN");
    // the longest IPv4 header has 60 bytes, of which the kernel copies 40
    let mut options = ipv4(17, 0, &[1; 20]);
    options[0] = 0x4f;
    let v4 = v4.replace("LEN=20", "LEN=40");
    let udp = [0, 53, 0, 54, 0, 8, 0, 0];
    assert_eq!(fields(2, &options, Some(&udp)), format!("{v4} PROTO=UDP SPT=53 DPT=54 LEN=8"));
    assert_eq!(fields(2, &options, None), format!("{v4} PROTO=UDP"));
    let v6 = "SRC=fd00::1 DST=fd00::2 LEN=0 TC=0 FLOWLBL=0 HOPLIMIT=64";
    assert_eq!(fields(10, &ipv6(17, &[]), Some(&udp)), format!("{v6} PROTO=UDP SPT=53 DPT=54 LEN=8"));
    assert_eq!(fields(10, &ipv6(17, &[]), None), format!("{v6} PROTO=UDP"));
    // the number of the protocol is in the extension header, which the kernel does not copy
    assert_eq!(fields(10, &ipv6(60, &[]), Some(&udp)), format!("{v6} NEXTHDR=DSTOPTS"));
    // a redirect has 40 bytes
    let redirect = [&[137, 0][..], &[0; 18]].concat();
    assert_eq!(fields(10, &ipv6(58, &[]), Some(&redirect)), format!("{v6} PROTO=ICMPV6"));
    assert_eq!(fields(10, &ipv6(58, &[]), Some(&redirect[..19])), format!("{v6} PROTO=ICMPV6 LEN=19 INVALID=LEN"));
}

#[test]
fn the_ethertype_is_read_from_ethernet_headers_only() {
    let link = |ethertype: &[u8]| [&[2; 12][..], ethertype].concat();
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat();
    let fields = |link: &[u8], device: u16| {
        let step = trace_step(BRIDGE, RULE).with(7, link).with(8, &arp).with(11, &device.to_be_bytes());
        let text = text(step);
        text.split_once(" SRC=").map(|(_, packet)| packet.to_string())
    };
    let request = Some("0.0.0.0 DST=0.0.0.0 PROTO=ARP REQUEST".to_string());
    assert_eq!(fields(&link(&[8, 6]), 1), request);
    assert_eq!(fields(&link(&[0x81, 0, 0, 5, 8, 6]), 1), request, "a VLAN tag");
    assert_eq!(fields(&link(&[8, 6]), 512), None);
    assert_eq!(fields(&link(&[0x88, 0xb5]), 1), None);
    assert_eq!(fields(&[8, 6], 1), None);
}

#[test]
fn the_guest_is_that_of_the_devices_or_of_an_earlier_step() {
    let interfaces = || {
        let names = ["eno1", "tap100i0", "fwbr100i0", "fwpr200p1", "veth300i0"];
        (1_u32..).zip(names.map(String::from)).collect::<BTreeMap<_, _>>()
    };
    let guests = |steps: &[(u32, u32, u32)]| {
        let step = |(id, input, output): &(u32, u32, u32)| {
            let mut step = trace_step(BRIDGE, RULE).with(6, &id.to_be_bytes());
            for (kind, index) in [(10, input), (12, output)] {
                if *index != 0 {
                    step = step.with(kind, &index.to_be_bytes());
                }
            }
            step.bytes()
        };
        let lines = traces(&steps.iter().flat_map(step).collect::<Vec<_>>(), interfaces());
        lines.lines().map(|line| line.split_once(' ').unwrap().0.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    // from a guest to the network, step by step
    assert_eq!(guests(&[(1, 2, 0), (1, 0, 0), (1, 2, 1), (1, 0, 1), (2, 1, 0)]), [100, 100, 100, 100, 0]);
    // from one guest to another one
    assert_eq!(guests(&[(1, 2, 0), (1, 2, 5), (1, 0, 0)]), [100, 300, 300]);
    assert_eq!(guests(&[(1, 3, 0), (2, 0, 4), (3, 99, 0)]), [100, 200, 0]);
}
