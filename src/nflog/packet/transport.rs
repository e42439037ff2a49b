//! Transport protocols in an IP packet.
use super::icmp;
use crate::nflog::log_fields::Fields;

const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ESP: u8 = 50;
const AH: u8 = 51;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// IP version of the packet that contains the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// Appends the protocol and the fields of its header; `rest` is `None` for a later fragment, which has no header.
pub(super) fn push(version: Version, protocol: u8, rest: Option<&[u8]>, fields: &mut Fields<'_>) {
    match name(version, protocol) {
        Some(name) => fields.word(name),
        None => fields.number("PROTO=", protocol),
    }
    let Some(rest) = rest else { return };
    let complete = match protocol {
        TCP => tcp(rest, fields),
        UDP => udp(rest, fields),
        SCTP => sctp(rest, fields),
        ICMP => icmp::v4(rest, fields),
        ICMPV6 if version == Version::V6 => icmp::v6(rest, fields),
        _ => Some(()),
    };
    if complete.is_none() {
        fields.truncated(rest.len());
    }
}

fn name(version: Version, protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        ICMP => "PROTO=ICMP",
        IGMP => "PROTO=IGMP",
        TCP => "PROTO=TCP",
        UDP => "PROTO=UDP",
        ESP => "PROTO=ESP",
        AH => "PROTO=AH",
        SCTP => "PROTO=SCTP",
        ICMPV6 if version == Version::V6 => "PROTO=ICMPV6",
        _ => return None,
    })
}

/// RFC 9293.
fn tcp(rest: &[u8], fields: &mut Fields<'_>) -> Option<()> {
    const FLAGS: [(u8, &str); 6] =
        [(0x20, "URG"), (0x10, "ACK"), (0x08, "PSH"), (0x04, "RST"), (0x02, "SYN"), (0x01, "FIN")];
    let header = rest.first_chunk::<20>()?;
    ports(rest, fields)?;
    fields.number("SEQ=", u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
    fields.number("ACK=", u32::from_be_bytes([header[8], header[9], header[10], header[11]]));
    fields.number("WINDOW=", u16::from_be_bytes([header[14], header[15]]));
    for (_, flag) in FLAGS.iter().filter(|(bit, _)| header[13] & bit != 0) {
        fields.word(flag);
    }
    if header[13] & FLAGS[0].0 != 0 {
        fields.number("URGP=", u16::from_be_bytes([header[18], header[19]]));
    }
    Some(())
}

/// RFC 768.
fn udp(rest: &[u8], fields: &mut Fields<'_>) -> Option<()> {
    let header = rest.first_chunk::<8>()?;
    ports(rest, fields)?;
    fields.number("LEN=", u16::from_be_bytes([header[4], header[5]]));
    Some(())
}

/// RFC 9260.
fn sctp(rest: &[u8], fields: &mut Fields<'_>) -> Option<()> {
    rest.first_chunk::<12>()?;
    ports(rest, fields)
}

fn ports(rest: &[u8], fields: &mut Fields<'_>) -> Option<()> {
    let ports = rest.first_chunk::<4>()?;
    fields.number("SPT=", u16::from_be_bytes([ports[0], ports[1]]));
    fields.number("DPT=", u16::from_be_bytes([ports[2], ports[3]]));
    Some(())
}
