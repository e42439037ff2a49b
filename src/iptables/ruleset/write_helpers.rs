//! Fast text output without allocations and formatters: the rules of a large node have megabytes of text.
use std::fmt::{self, Write};

/// Writes strings one after another.
pub(super) fn put(out: &mut impl Write, pieces: &[&str]) -> fmt::Result {
    pieces.iter().try_for_each(|piece| out.write_str(piece))
}

/// Writes a decimal number.
pub(super) fn number(out: &mut impl Write, number: u32) -> fmt::Result {
    out.write_str(itoa::Buffer::new().format(number))
}

/// Writes bits under a mask, each as eight hexadecimal digits.
pub(super) fn masked(out: &mut impl Write, value: u32, mask: u32) -> fmt::Result {
    let mut text = *b"0x________/0x________";
    let digits = (0..8).rev().flat_map(|at| [(9 - at, value >> (4 * at)), (20 - at, mask >> (4 * at))]);
    digits.for_each(|(at, bits)| text[at] = b"0123456789abcdef"[bits as usize & 15]);
    out.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

/// Implements `Display` with a function that writes a leading blank.
pub(super) fn show(f: &mut fmt::Formatter<'_>, write: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
    f.write_str(string(write).trim_start_matches(' '))
}

/// The length of most lines, in bytes: a text that grows is copied.
const MOST_LINES: usize = 128;

/// The text written by a function.
pub(super) fn string(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::with_capacity(MOST_LINES);
    // writing to a String never fails
    let _ = write(&mut text);
    text
}
