//! Text from files, in reports.

/// How much of a line a report shows, in characters.
const SHOWN: usize = 240;

/// Text as a report may show it: on one line, printable, and not endless.
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, one) in text.chars().enumerate() {
        match one {
            _ if count == SHOWN => {
                out.push('…');
                break;
            }
            one if one.is_control() || turns_text(one) => out.extend(one.escape_default()),
            one => out.push(one),
        }
    }
    out
}

/// Whether a character changes the direction of the text around it (UAX #9), so that a line reads as another.
fn turns_text(one: char) -> bool {
    matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text is all printable ASCII and tabs, as most is: then nothing else needs to be looked for.
pub fn is_plain(text: &str) -> bool {
    // every byte is looked at, so many can be at once
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\t'))
}
