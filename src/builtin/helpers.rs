//! Helpers of connection tracking for protocols that open further connections.

/// A helper, and the packets that get it (`-j CT --helper`).
#[derive(Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its name, in host.fw and in the kernel.
    pub name: &'static str,
    /// The protocol that it listens to, with its number.
    pub proto: (&'static str, u8),
    /// The port that it listens on.
    pub port: u16,
    /// Whether it exists for IPv6 too.
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

/// The helper of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Helper> {
    HELPERS.iter().find(|helper| helper.name == name)
}
