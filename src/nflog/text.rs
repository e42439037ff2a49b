//! Text for a log line: without control characters, and with addresses in the format of inet_ntop(3).
use std::borrow::Cow;
use std::fmt::Write;
use std::net::Ipv6Addr;

/// Converts bytes to text; control characters and bytes that are not UTF-8 are escaped as `\xNN`.
pub(super) fn printable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(bytes)),
    }
}

/// Converts a name to one word: as [`printable`], with escaped blanks and colons. An empty name is `-`.
pub(super) fn word(bytes: &[u8]) -> Cow<'_, str> {
    match printable(bytes) {
        text if text.is_empty() => Cow::Borrowed("-"),
        text if text.contains([' ', ':']) => Cow::Owned(text.replace(' ', "\\x20").replace(':', "\\x3a")),
        text => text,
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
            } else {
                text.push(character);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // writing to a String never fails
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Appends an IPv6 address. Like the C library, and unlike `Display`, this formats IPv4-compatible addresses
/// (`::1.2.3.4`, RFC 4291 section 2.5.5.1) with dots.
pub(super) fn push_ipv6(bytes: [u8; 16], out: &mut String) {
    let address = Ipv6Addr::from(bytes);
    let written = match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            write!(out, "::{}.{}.{}.{}", bytes[12], bytes[13], bytes[14], bytes[15])
        }
        _ => write!(out, "{address}"),
    };
    debug_assert!(written.is_ok(), "writing to a String never fails");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_invalid_bytes_are_escaped() {
        for (bytes, escaped) in [
            (&b"policy DROP: "[..], "policy DROP: "),
            (b"a\tb\x1b[31m\n", "a\\x09b\\x1b[31m\\x0a"),
            ("über".as_bytes(), "über"),
            (b"\xff\x80a", "\\xff\\x80a"),
            ("\u{9b}".as_bytes(), "\\xc2\\x9b"),
            (b"\x7f\\", "\\x7f\\"),
        ] {
            assert_eq!(printable(bytes), escaped);
        }
    }

    #[test]
    fn names_are_one_word() {
        for (bytes, text) in [(&b"guest-100-in"[..], "guest-100-in"), (b"a b:c\n", "a\\x20b\\x3ac\\x0a"), (b"", "-")] {
            assert_eq!(word(bytes), text);
        }
    }

    #[test]
    fn addresses_are_formatted_as_by_the_c_library() {
        for text in ["::", "::1", "::1.2.3.4", "::ffff:1.2.3.4", "2001:db8::1:0:0:1", "1:0:2:3:4:5:6:7", "::0.1.0.0"] {
            let mut out = String::new();
            push_ipv6(text.parse::<Ipv6Addr>().unwrap().octets(), &mut out);
            assert_eq!(out, text);
        }
    }
}
