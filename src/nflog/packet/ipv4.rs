//! The IPv4 header (RFC 791).
use super::transport::{self, Version};
use crate::nflog::log_fields::Fields;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

pub(super) fn push(payload: &[u8], fields: &mut Fields<'_>) {
    let Some(header) = payload.first_chunk::<20>() else {
        return fields.truncated(payload.len());
    };
    let length = usize::from(header[0] & 0x0f) * 4;
    let Some(rest) = payload.get(length..).filter(|_| length >= header.len()) else {
        return fields.word("INVALID=IHL");
    };
    fields.ipv4("SRC=", [header[12], header[13], header[14], header[15]]);
    fields.ipv4("DST=", [header[16], header[17], header[18], header[19]]);
    fields.number("LEN=", u16::from_be_bytes([header[2], header[3]]));
    fields.hex("TOS=", header[1] & 0x1e);
    fields.hex("PREC=", header[1] & 0xe0);
    fields.number("TTL=", header[8]);
    fields.number("ID=", u16::from_be_bytes([header[4], header[5]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let offset = fragment & FRAGMENT_OFFSET;
    if offset != 0 {
        fields.number("FRAG=", offset);
    }
    if fragment & DONT_FRAGMENT != 0 {
        fields.word("DF");
    }
    if fragment & MORE_FRAGMENTS != 0 {
        fields.word("MF");
    }
    transport::push(Version::V4, header[9], (offset == 0).then_some(rest), fields);
}
