//! Which names in the kernel are ours. Nothing else is ever touched.
use regex::Regex;
use std::sync::LazyLock;

const DEVICE_CHAIN: &str = r"PVEFW-.*|(tap|veth)[0-9]+i[0-9]+-(IN|OUT)";

static CHAIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(r"{DEVICE_CHAIN}|fwbr[0-9]+(v[0-9]+)?-(FW|IN|OUT|IPS)|GROUP-[A-Za-z][A-Za-z0-9_-]*-(IN|OUT)"))
});

static BRIDGE_CHAIN: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!("({DEVICE_CHAIN})(-ARP|-PROTO)?|fwbr[0-9]+(v[0-9]+)?-(FW|IN|OUT|IPS)")));

fn pattern(whole: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
    Regex::new(&format!("^(?:{whole})$")).expect("a constant pattern")
}

/// Whether an iptables chain of this name is ours.
#[must_use]
pub fn is_own_chain(name: &str) -> bool {
    CHAIN.is_match(name)
}

/// Whether an ebtables chain of this name is ours.
#[must_use]
pub fn is_own_bridge_chain(name: &str) -> bool {
    BRIDGE_CHAIN.is_match(name)
}

/// Whether an IP set of this name is ours.
#[must_use]
pub fn is_own_set(name: &str) -> bool {
    name.starts_with("PVEFW-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names() {
        for own in [
            "PVEFW-INPUT",
            "tap100i0-IN",
            "veth100i12-OUT",
            "fwbr100-FW",
            "fwbr100v5-IPS",
            "GROUP-web-IN",
            "GROUP-a_b-c-OUT",
        ] {
            assert!(is_own_chain(own), "{own}");
        }
        for foreign in [
            "INPUT",
            "tap100i0",
            "tapi0-IN",
            "tap100i0-IN-ARP",
            "xtap100i0-IN",
            "GROUP-IN",
            "GROUP--IN",
            "f2b-sshd",
            "fwbr-IN",
            "",
        ] {
            assert!(!is_own_chain(foreign), "{foreign}");
        }
        for own in ["PVEFW-FORWARD", "tap100i0-OUT", "tap100i0-OUT-ARP", "veth1i1-OUT-PROTO"] {
            assert!(is_own_bridge_chain(own), "{own}");
        }
        for foreign in ["FORWARD", "tap100i0-OUT-X", "GROUP-a-IN"] {
            assert!(!is_own_bridge_chain(foreign), "{foreign}");
        }
        assert!(is_own_set("PVEFW-0-management-v4") && !is_own_set("blocklist"));
    }
}
