//! Which names in the kernel are ours. Nothing else is ever touched.

/// `PVEFW-…`, or `tapNiN-` or `vethNiN-` with `IN` or `OUT`.
fn is_device_chain(name: &str) -> bool {
    let device = || {
        let rest = name.strip_prefix("tap").or_else(|| name.strip_prefix("veth"))?;
        after_digits(after_digits(rest)?.strip_prefix('i')?)
    };
    name.starts_with("PVEFW-") || device().is_some_and(|end| matches!(end, "-IN" | "-OUT"))
}

/// `fwbrN-` or `fwbrNvN-` with `FW`, `IN`, `OUT` or `IPS`: of older versions.
fn is_link_chain(name: &str) -> bool {
    let link = || {
        let rest = after_digits(name.strip_prefix("fwbr")?)?;
        rest.strip_prefix('v').map_or(Some(rest), after_digits)
    };
    link().is_some_and(|end| matches!(end, "-FW" | "-IN" | "-OUT" | "-IPS"))
}

/// `GROUP-NAME-` with `IN` or `OUT`.
fn is_group_chain(name: &str) -> bool {
    let rest = name.strip_prefix("GROUP-");
    let group = rest.and_then(|rest| rest.strip_suffix("-IN").or(rest.strip_suffix("-OUT")));
    group.is_some_and(|group| {
        group.starts_with(|first: char| first.is_ascii_alphabetic())
            && group.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    })
}

/// What follows one or more digits.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|one: char| one.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

/// Whether an iptables chain of this name is ours.
#[must_use]
pub fn is_own_chain(name: &str) -> bool {
    is_device_chain(name) || is_link_chain(name) || is_group_chain(name)
}

/// Whether an ebtables chain of this name is ours.
#[must_use]
pub fn is_own_bridge_chain(name: &str) -> bool {
    let of_device = name.strip_suffix("-ARP").or(name.strip_suffix("-PROTO")).unwrap_or(name);
    is_device_chain(of_device) || is_device_chain(name) || is_link_chain(name)
}

/// Whether an IP set of this name is ours.
#[must_use]
pub fn is_own_set(name: &str) -> bool {
    name.starts_with("PVEFW-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use regex::Regex;
    use std::sync::LazyLock;

    /// The same names, as regular expressions.
    fn patterns() -> [Regex; 2] {
        let device = r"PVEFW-.*|(tap|veth)[0-9]+i[0-9]+-(IN|OUT)";
        let link = "fwbr[0-9]+(v[0-9]+)?-(FW|IN|OUT|IPS)";
        let group = "GROUP-[A-Za-z][A-Za-z0-9_-]*-(IN|OUT)";
        [format!("{device}|{link}|{group}"), format!("({device})(-ARP|-PROTO)?|{link}")]
            .map(|whole| Regex::new(&format!("^(?:{whole})$")).unwrap())
    }

    const PIECES: [&str; 18] = [
        "PVEFW-", "tap", "veth", "fwbr", "GROUP-", "100", "0", "i", "v", "-IN", "-OUT", "-ARP", "-PROTO", "-FW",
        "-IPS", "a_b", "-", "é",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn names_match_the_patterns(pieces in vec(select(&PIECES[..]), 0..7)) {
            static PATTERNS: LazyLock<[Regex; 2]> = LazyLock::new(patterns);
            let name = pieces.concat();
            prop_assert_eq!(is_own_chain(&name), PATTERNS[0].is_match(&name));
            prop_assert_eq!(is_own_bridge_chain(&name), PATTERNS[1].is_match(&name));
        }
    }

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
