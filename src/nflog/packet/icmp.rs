//! ICMP (RFC 792) and ICMPv6 (RFC 4443, RFC 4861). For a truncated header, both append nothing and return `None`.
use crate::nflog::log_fields::Fields;

pub(super) fn v4(rest: &[u8], fields: &mut Fields<'_>) -> Option<()> {
    let header = rest.first_chunk::<8>()?;
    let (kind, code) = (header[0], header[1]);
    fields.number("TYPE=", kind);
    fields.number("CODE=", code);
    match (kind, code) {
        (0 | 8, _) => echo(*header, fields),
        (3, 4) => fields.number("MTU=", u16::from_be_bytes([header[6], header[7]])),
        (5, _) => fields.ipv4("GATEWAY=", [header[4], header[5], header[6], header[7]]),
        (12, _) => fields.number("PARAMETER=", header[4]),
        _ => {}
    }
    Some(())
}

pub(super) fn v6(rest: &[u8], fields: &mut Fields<'_>) -> Option<()> {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const REDIRECT: u8 = 137;
    let header = rest.first_chunk::<8>()?;
    let (kind, code) = (header[0], header[1]);
    // check the two longer headers first, so that nothing is appended for a truncated one
    let advertisement = rest.first_chunk::<16>().filter(|_| kind == ROUTER_ADVERTISEMENT);
    let redirect = rest.first_chunk::<40>().filter(|_| kind == REDIRECT);
    if (kind == ROUTER_ADVERTISEMENT && advertisement.is_none()) || (kind == REDIRECT && redirect.is_none()) {
        return None;
    }
    fields.number("TYPE=", kind);
    fields.number("CODE=", code);
    let word = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    if let Some(body) = advertisement {
        fields.number("HOPLIMIT=", body[4]);
        fields.put("RA=", format_args!("{:02x}", body[5]));
        fields.number("LIFETIME=", u16::from_be_bytes([body[6], body[7]]));
        fields.number("REACHABLE=", u32::from_be_bytes([body[8], body[9], body[10], body[11]]));
        fields.number("RETRANSMIT=", u32::from_be_bytes([body[12], body[13], body[14], body[15]]));
    }
    if let Some((target, gateway)) = redirect.and_then(|body| body[8..].split_first_chunk::<16>()) {
        fields.ipv6("TARGET=", *target);
        fields.ipv6("GATEWAY=", gateway.try_into().unwrap_or_default());
    }
    match kind {
        128 | 129 => echo(*header, fields),
        2 => fields.number("MTU=", word),
        4 => parameter_problem(code, fields),
        136 => fields.put("NA=", format_args!("{word:08x}")),
        _ => {}
    }
    Some(())
}

fn echo(header: [u8; 8], fields: &mut Fields<'_>) {
    fields.number("ID=", u16::from_be_bytes([header[4], header[5]]));
    fields.number("SEQ=", u16::from_be_bytes([header[6], header[7]]));
}

fn parameter_problem(code: u8, fields: &mut Fields<'_>) {
    match code {
        0 => fields.word("PARAMETER=HEADER"),
        1 => fields.word("PARAMETER=NEXTHEADER"),
        2 => fields.word("PARAMETER=OPTION"),
        other => fields.number("PARAMETER=", other),
    }
}
