//! The fields of a line: `NAME=value`, each followed by a blank.
use super::text::push_ipv6;
use std::fmt::Write;

/// Appends fields to a line.
pub(super) struct Fields<'a>(pub &'a mut String);

impl Fields<'_> {
    /// `word `
    pub fn word(&mut self, word: &str) {
        self.0.push_str(word);
        self.0.push(' ');
    }

    /// `name=value `, the value in decimal; `name` includes the `=`.
    pub fn number(&mut self, name: &str, value: impl itoa::Integer) {
        self.0.push_str(name);
        self.word(itoa::Buffer::new().format(value));
    }

    /// `name=value ` with a formatted value; `name` includes the `=`.
    pub fn put(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        // writing to a String never fails
        let _ = write!(self.0, "{name}{value} ");
    }

    /// An IPv4 address.
    pub fn ipv4(&mut self, name: &str, bytes: [u8; 4]) {
        self.0.push_str(name);
        let mut digits = itoa::Buffer::new();
        for byte in bytes {
            self.0.push_str(digits.format(byte));
            self.0.push('.');
        }
        self.0.pop();
        self.0.push(' ');
    }

    /// An IPv6 address.
    pub fn ipv6(&mut self, name: &str, bytes: [u8; 16]) {
        self.0.push_str(name);
        push_ipv6(bytes, self.0);
        self.0.push(' ');
    }

    /// Bytes in lower-case hexadecimal, separated by colons.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        self.0.push_str(name);
        for (position, byte) in bytes.iter().enumerate() {
            if position > 0 {
                self.0.push(':');
            }
            self.0.push(DIGITS[usize::from(byte >> 4)]);
            self.0.push(DIGITS[usize::from(byte & 15)]);
        }
        self.0.push(' ');
    }

    /// `0x` and two upper-case digits.
    pub fn hex(&mut self, name: &str, value: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.0.push_str(name);
        self.0.push_str("0x");
        self.0.push(char::from(DIGITS[usize::from(value >> 4)]));
        self.0.push(char::from(DIGITS[usize::from(value & 15)]));
        self.0.push(' ');
    }

    /// A truncated header, of which `length` bytes are present.
    pub fn truncated(&mut self, length: usize) {
        self.number("LEN=", length);
        self.word("INVALID=LEN");
    }
}
