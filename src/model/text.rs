//! Text from files for reports.

/// The maximum length of a line in a report, in characters.
const MAX_CHARS: usize = 240;

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
