//! Any bytes result in exactly one line with a valid head.
use crate::nflog::{conntrack, line_of, message};
use proptest::prelude::*;
use pve_firewall::nflog::netlink::Request;
use std::collections::BTreeMap;

proptest! {
    #[test]
    fn any_bytes_give_one_line_with_a_head(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        check_line(&line_of(&bytes, BTreeMap::new()))?;
    }

    #[test]
    fn any_packet_and_prefix_give_one_line_with_a_head(
        family in prop::sample::select(vec![2, 3, 5, 7, 10]),
        protocol in prop::sample::select(vec![0x0800, 0x86dd, 0x0806, 0x1234]),
        next in prop::sample::select(vec![0_u8, 1, 6, 17, 43, 44, 58, 60, 132, 135]),
        prefix in prop::collection::vec(any::<u8>(), 0..64),
        mut payload in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        // an almost valid packet
        for (at, value) in [(0, if family == 10 { 0x60 } else { 0x45 }), (6, next), (9, next)] {
            if let Some(byte) = payload.get_mut(at) {
                *byte = value;
            }
        }
        check_line(&line_of(&message(family, protocol, &payload).with(10, &prefix).bytes(), BTreeMap::new()))?;
    }

    #[test]
    fn any_conntrack_message_gives_at_most_one_line(bytes in prop::collection::vec(any::<u8>(), 0..500), kind in 0x100_u16..0x104) {
        if let Some(line) = conntrack(Request::new(kind, 0x600, 0, &bytes)) {
            prop_assert!(line.ends_with('\n') && !line[..line.len() - 1].contains(char::is_control), "{line:?}");
        }
    }
}

/// Checks for one line without control characters, with at least VMID, LOGID, chain, date, time zone and one more field.
fn check_line(line: &str) -> Result<(), TestCaseError> {
    let text = line.strip_suffix('\n').ok_or_else(|| TestCaseError::fail("no line end"))?;
    prop_assert!(!text.contains(char::is_control), "{text:?}");
    let head =
        regex::Regex::new(r"^\d+ [0-7] [^ :]+ \d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4} .*[^ ]$").unwrap();
    prop_assert!(head.is_match(text), "{text:?}");
    Ok(())
}
