//! ICMP types in rules and macros.
use crate::builtin::icmp;
use crate::model::{Family, IcmpType, Spelled};
use crate::node::name_databases::decimal;

/// The family of an ICMP protocol, by name.
pub fn icmp_family(protocol: &str) -> Option<Family> {
    match protocol {
        "icmp" => Some(Family::V4),
        "icmpv6" | "ipv6-icmp" => Some(Family::V6),
        _ => None,
    }
}

/// Parses an ICMP type: a name of the family, or a number. 255 is reserved in IPv4 (RFC 2780), and `any` for the tools.
pub fn icmp_type(text: &str, family: Family) -> Option<Spelled<IcmpType>> {
    let (table, most) = match family {
        Family::V4 => (icmp::V4, 254),
        Family::V6 => (icmp::V6, 255),
    };
    let number = || {
        let number = if text.is_empty() { None } else { decimal(text) };
        Some((Some(u8::try_from(number?).ok().filter(|number| *number <= most)?), None))
    };
    let (kind, code) = icmp::find(table, text).or_else(number)?;
    Spelled::new(text, IcmpType { kind, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icmp_types() {
        for (text, family, good) in [
            ("echo-request", Family::V4, true),
            ("any", Family::V4, true),
            ("any", Family::V6, false),
            ("0", Family::V4, true),
            ("254", Family::V4, true),
            ("255", Family::V4, false),
            ("255", Family::V6, true),
            ("256", Family::V6, false),
            ("packet-too-big", Family::V4, false),
            ("", Family::V4, false),
        ] {
            assert_eq!(icmp_type(text, family).is_some(), good, "{text}");
        }
    }
}
