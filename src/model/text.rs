//! Text from files.
use std::borrow::Cow;

/// The maximum length of a line in a report, in characters.
const MAX_CHARS: usize = 240;

/// The text of a file. Bytes that are not UTF-8 become U+FFFD.
pub fn decoded(content: &[u8]) -> Cow<'_, str> {
    // most files are ASCII, for which a check is much faster than a conversion
    str::from_utf8(content).map_or_else(|_| String::from_utf8_lossy(content), Cow::Borrowed)
}

/// The text in lower case; most words are already.
pub fn lowercase(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

/// Text for a report: on one line, printable, and truncated.
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for (count, one) in text.chars().enumerate() {
        match one {
            _ if count == MAX_CHARS => {
                out.push('…');
                break;
            }
            one if one.is_control() || is_bidi_formatting(one) => out.extend(one.escape_default()),
            one => out.push(one),
        }
    }
    out
}

/// Whether a character is bidirectional formatting (UAX #9), which could make a line look different.
fn is_bidi_formatting(one: char) -> bool {
    matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text consists of printable ASCII, tabs and line feeds, the common case, and needs no further checks.
pub fn is_plain(text: &str) -> bool {
    // without an early exit the loop can be vectorised
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\t' | b'\n'))
}
