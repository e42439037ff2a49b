//! Any bytes result in exactly one line with a valid head.
use crate::nflog::{conntrack, ipv4, ipv6, line_of, message, trace_step, traces};
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

    #[test]
    fn any_trace_message_gives_one_line_with_a_head(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        check_line(&traces(&Request::new(0x0a11, 0, 0, &bytes).bytes(), BTreeMap::new()))?;
    }

    #[test]
    fn any_headers_in_a_trace_give_one_line_with_a_head(
        family in prop::sample::select(vec![1_u8, 2, 3, 5, 7, 10]),
        packet_family in prop::sample::select(vec![2_u32, 3, 5, 7, 10]),
        ethertype in prop::sample::select(vec![0x0800_u16, 0x86dd, 0x0806, 0x8100]),
        first in prop::sample::select(vec![0x45_u8, 0x4f, 0x40, 0x60, 0xff]),
        next in prop::sample::select(vec![0_u8, 1, 6, 17, 43, 44, 58, 60, 132, 135]),
        mut network in prop::collection::vec(any::<u8>(), 0..60),
        transport in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        names in prop::collection::vec(any::<u8>(), 0..20),
        verdict in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        for (at, value) in [(0, first), (6, next), (9, next)] {
            if let Some(byte) = network.get_mut(at) {
                *byte = value;
            }
        }
        let link = [&[0; 12][..], &ethertype.to_be_bytes()].concat();
        let step = trace_step(family, 3)
            .with(1, &names)
            .with(2, &names)
            .with(5, &verdict)
            .with(7, &link)
            .with(8, &network)
            .with(11, &[0, 1])
            .with(15, &packet_family.to_be_bytes());
        let step = transport.iter().fold(step, |step, header| step.with(9, header));
        check_line(&traces(&step.bytes(), BTreeMap::new()))?;
    }

    // the kernel copies 40 bytes of the network header, without extension headers, and 20 of the transport header
    #[test]
    fn headers_that_the_kernel_cut_are_not_called_invalid(
        protocol in any::<u8>(),
        options in 0_u8..11,
        rest in prop::collection::vec(any::<u8>(), 20),
    ) {
        let mut v4 = ipv4(protocol, 0, &[]);
        v4[0] = 0x45 + options;
        v4.resize(40.min(20 + 4 * usize::from(options)), 1);
        let v6 = ipv6(protocol, &[]);
        for (packet_family, network) in [(2_u32, v4), (10, v6)] {
            for transport in [Some(&rest), None] {
                // a packet without a transport header was cut if its first 40 bytes were copied
                let network = if transport.is_none() { [&network[..], &[1; 20]].concat() } else { network.clone() };
                let step = trace_step(1, 3).with(8, &network[..40.min(network.len())]).with(15, &packet_family.to_be_bytes());
                let step = transport.iter().fold(step, |step, header| step.with(9, header));
                let line = traces(&step.bytes(), BTreeMap::new());
                prop_assert!(!line.contains("INVALID="), "{line}");
            }
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
