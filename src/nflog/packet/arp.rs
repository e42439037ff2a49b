//! ARP (RFC 826) for IPv4 over Ethernet.
use crate::nflog::log_fields::Fields;

pub(super) fn push(payload: &[u8], fields: &mut Fields<'_>) {
    // type 2, protocol 2, lengths 2, operation 2, sender 6 + 4, target 6 + 4
    let Some(packet) = payload.first_chunk::<28>() else {
        return fields.truncated(payload.len());
    };
    fields.ipv4("SRC=", [packet[14], packet[15], packet[16], packet[17]]);
    fields.ipv4("DST=", [packet[24], packet[25], packet[26], packet[27]]);
    fields.word("PROTO=ARP");
    match u16::from_be_bytes([packet[6], packet[7]]) {
        1 => fields.word("REQUEST"),
        2 => {
            fields.word("REPLY");
            fields.bytes("MAC=", &packet[8..14]);
        }
        10 => fields.word("NAK"),
        operation => fields.number("CODE=", operation),
    }
}
