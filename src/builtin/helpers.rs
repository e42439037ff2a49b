//! Connection tracking helpers, for protocols that open related connections.

/// A helper, and the packets that it is assigned to (`-j CT --helper`).
#[derive(Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its name, in host.fw and in the kernel.
    pub name: &'static str,
    /// The transport protocol: name and number.
    pub proto: (&'static str, u8),
    /// The destination port.
    pub port: u16,
    /// Whether it supports IPv6 too.
    pub v6: bool,
}

const fn tcp(name: &'static str, port: u16, v6: bool) -> Helper {
    Helper { name, proto: ("tcp", 6), port, v6 }
}

const fn udp(name: &'static str, port: u16, v6: bool) -> Helper {
    Helper { name, proto: ("udp", 17), port, v6 }
}

/// All helpers.
pub const HELPERS: &[Helper] = &[
    udp("amanda", 10080, true),
    tcp("ftp", 21, true),
    tcp("irc", 6667, false),
    udp("netbios-ns", 137, false),
    tcp("pptp", 1723, false),
    tcp("sane", 6566, true),
    udp("sip", 5060, true),
    udp("snmp", 161, false),
    udp("tftp", 69, true),
];

/// The helper with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Helper> {
    HELPERS.iter().find(|helper| helper.name == name)
}
