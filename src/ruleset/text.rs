//! Making text of values, of which a large node has megabytes: without an allocation or a formatter for each piece.
use std::fmt::{self, Write};

/// Writes pieces one after another.
pub(super) fn put(out: &mut impl Write, pieces: &[&str]) -> fmt::Result {
    pieces.iter().try_for_each(|piece| out.write_str(piece))
}

/// Writes a decimal number.
pub(super) fn number(out: &mut impl Write, number: u32) -> fmt::Result {
    out.write_str(itoa::Buffer::new().format(number))
}

/// The text that a writing function makes.
pub(super) fn string(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    // a String takes everything
    let _ = write(&mut text);
    text
}
