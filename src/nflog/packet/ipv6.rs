//! The IPv6 header and its extensions (RFC 8200, RFC 6275).
use super::transport::{self, Version};
use crate::nflog::log_fields::Fields;

/// Maximum number of extension headers in a line; a packet can have thousands.
const MAX_SHOWN: usize = 16;

pub(super) fn push(payload: &[u8], fields: &mut Fields<'_>) {
    let Some((header, rest)) = payload.split_first_chunk::<40>() else {
        return fields.truncated(payload.len());
    };
    let word = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let (source, rest_of_header) = header[8..].split_at(16);
    // both halves of 32 bytes have 16
    fields.ipv6("SRC=", source.try_into().unwrap_or_default());
    fields.ipv6("DST=", rest_of_header.try_into().unwrap_or_default());
    fields.number("LEN=", u16::from_be_bytes([header[4], header[5]]));
    fields.number("TC=", (word >> 20) & 0xff);
    fields.number("FLOWLBL=", word & 0x000f_ffff);
    fields.number("HOPLIMIT=", header[7]);
    push_chain(header[6], rest, fields);
}

/// Whether an extension header follows this header.
pub(in crate::nflog) fn has_extension_header(header: &[u8]) -> bool {
    header.get(6).is_some_and(|next| Extension::of(*next).is_some())
}

/// Appends the extension headers, then the protocol.
fn push_chain(mut next: u8, mut rest: &[u8], fields: &mut Fields<'_>) {
    let mut shown = 0;
    while let Some(kind) = Extension::of(next) {
        let Some((header, tail)) = kind.split(rest) else {
            kind.push_name(next, fields);
            return fields.truncated(rest.len());
        };
        if shown < MAX_SHOWN && !kind.push(header, fields) {
            return fields.truncated(rest.len());
        }
        shown += 1;
        next = header[0];
        rest = tail;
        if kind == Extension::Fragment && fragment_offset(header) != 0 {
            return transport::push(Version::V6, next, None, fields);
        }
    }
    transport::push(Version::V6, next, Some(rest), fields);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// Hop-by-hop, destination options and mobility: only the name is logged.
    Named(&'static str),
    Routing,
    Fragment,
}

impl Extension {
    fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Extension::Named("HOPOPTS")),
            43 => Some(Extension::Routing),
            44 => Some(Extension::Fragment),
            60 => Some(Extension::Named("DSTOPTS")),
            135 => Some(Extension::Named("MH")),
            _ => None,
        }
    }

    /// Splits the bytes after this header; `None` if the header is truncated.
    fn split(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let fixed = bytes.first_chunk::<8>()?;
        let length = match self {
            Extension::Fragment => 8,
            _ => 8 * (usize::from(fixed[1]) + 1),
        };
        bytes.split_at_checked(length)
    }

    /// Appends the name of a truncated header.
    fn push_name(self, number: u8, fields: &mut Fields<'_>) {
        match self {
            Extension::Named(name) => fields.put("NEXTHDR=", format_args!("{name}")),
            _ => fields.number("PROTO=", number),
        }
    }

    /// Appends the header, which has at least 8 bytes; false if it is too short for its type.
    fn push(self, header: &[u8], fields: &mut Fields<'_>) -> bool {
        match self {
            Extension::Named(name) => fields.put("NEXTHDR=", format_args!("{name}")),
            Extension::Fragment => {
                fields.number("FRAG=", fragment_offset(header));
                fields.number("ID=", u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
                if header[3] & 1 != 0 {
                    fields.word("MF");
                }
            }
            Extension::Routing => {
                fields.number("TYPE=", header[2]);
                fields.number("SEGMENTS=", header[3]);
                return header[2] != 2 || push_home(header, fields).is_some();
            }
        }
        true
    }
}

/// Units of 8 bytes.
fn fragment_offset(header: &[u8]) -> u16 {
    u16::from_be_bytes([header[2], header[3]]) >> 3
}

/// The home address of a type 2 routing header (RFC 6275, section 6.4.1).
fn push_home(header: &[u8], fields: &mut Fields<'_>) -> Option<()> {
    fields.ipv6("HOME=", *header.get(8..)?.first_chunk()?);
    Some(())
}
