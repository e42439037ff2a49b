//! The ICMP type names of iptables and ip6tables, with their numbers (RFC 792, RFC 4443, RFC 4861).

/// A name with its type and code; `None` matches any.
pub type IcmpName = (&'static str, Option<u8>, Option<u8>);

const fn kind(name: &'static str, kind: u8) -> IcmpName {
    (name, Some(kind), None)
}

const fn code(name: &'static str, kind: u8, code: u8) -> IcmpName {
    (name, Some(kind), Some(code))
}

/// The names of ICMP.
pub const V4: &[IcmpName] = &[
    ("any", None, None),
    kind("echo-reply", 0),
    kind("destination-unreachable", 3),
    code("network-unreachable", 3, 0),
    code("host-unreachable", 3, 1),
    code("protocol-unreachable", 3, 2),
    code("port-unreachable", 3, 3),
    code("fragmentation-needed", 3, 4),
    code("source-route-failed", 3, 5),
    code("network-unknown", 3, 6),
    code("host-unknown", 3, 7),
    code("network-prohibited", 3, 9),
    code("host-prohibited", 3, 10),
    code("TOS-network-unreachable", 3, 11),
    code("TOS-host-unreachable", 3, 12),
    code("communication-prohibited", 3, 13),
    code("host-precedence-violation", 3, 14),
    code("precedence-cutoff", 3, 15),
    kind("source-quench", 4),
    kind("redirect", 5),
    code("network-redirect", 5, 0),
    code("host-redirect", 5, 1),
    code("TOS-network-redirect", 5, 2),
    code("TOS-host-redirect", 5, 3),
    kind("echo-request", 8),
    kind("router-advertisement", 9),
    kind("router-solicitation", 10),
    kind("time-exceeded", 11),
    code("ttl-zero-during-transit", 11, 0),
    code("ttl-zero-during-reassembly", 11, 1),
    kind("parameter-problem", 12),
    code("ip-header-bad", 12, 0),
    code("required-option-missing", 12, 1),
    kind("timestamp-request", 13),
    kind("timestamp-reply", 14),
    kind("address-mask-request", 17),
    kind("address-mask-reply", 18),
];

/// The names of ICMPv6.
pub const V6: &[IcmpName] = &[
    kind("destination-unreachable", 1),
    code("no-route", 1, 0),
    code("communication-prohibited", 1, 1),
    code("beyond-scope", 1, 2),
    code("address-unreachable", 1, 3),
    code("port-unreachable", 1, 4),
    code("failed-policy", 1, 5),
    code("reject-route", 1, 6),
    kind("packet-too-big", 2),
    kind("time-exceeded", 3),
    code("ttl-zero-during-transit", 3, 0),
    code("ttl-zero-during-reassembly", 3, 1),
    kind("parameter-problem", 4),
    code("bad-header", 4, 0),
    code("unknown-header-type", 4, 1),
    code("unknown-option", 4, 2),
    kind("echo-request", 128),
    kind("echo-reply", 129),
    kind("mld-listener-query", 130),
    kind("mld-listener-report", 131),
    kind("mld-listener-done", 132),
    kind("mld-listener-reduction", 132),
    kind("router-solicitation", 133),
    kind("router-advertisement", 134),
    kind("neighbor-solicitation", 135),
    kind("neighbour-solicitation", 135),
    kind("neighbor-advertisement", 136),
    kind("neighbour-advertisement", 136),
    kind("redirect", 137),
    kind("mld2-listener-report", 143),
];

/// The type and code of a name in [`V4`] or [`V6`].
#[must_use]
pub fn find(table: &[IcmpName], name: &str) -> Option<(Option<u8>, Option<u8>)> {
    table.iter().find(|row| row.0 == name).map(|row| (row.1, row.2))
}
