//! The fields of a line: `NAME=value`, each followed by a blank.
use super::text::push_ipv6;
use std::fmt::Write;

/// Appends fields to a line.
pub(super) struct Fields<'a> {
    line: &'a mut String,
    /// Whether the kernel may have copied only the beginning of the packet: where its bytes end, its headers may go on.
    cut: bool,
}

impl<'a> Fields<'a> {
    /// Fields that are not of a packet, or of one that ends where its bytes end.
    pub fn new(line: &'a mut String) -> Self {
        Fields { line, cut: false }
    }

    /// Fields of a packet; `cut` if only its beginning may have been copied.
    pub fn of_packet(line: &'a mut String, cut: bool) -> Self {
        Fields { line, cut }
    }

    /// The line.
    pub fn line(&mut self) -> &mut String {
        self.line
    }

    /// Text that is not followed by a blank.
    pub fn text(&mut self, text: &str) {
        self.line.push_str(text);
    }

    /// `word `
    pub fn word(&mut self, word: &str) {
        self.line.push_str(word);
        self.line.push(' ');
    }

    /// `name=value `, the value in decimal; `name` includes the `=`.
    pub fn number(&mut self, name: &str, value: impl itoa::Integer) {
        self.line.push_str(name);
        self.word(itoa::Buffer::new().format(value));
    }

    /// `name=value ` with a formatted value; `name` includes the `=`.
    pub fn put(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        // writing to a String never fails
        let _ = write!(self.line, "{name}{value} ");
    }

    /// An IPv4 address.
    pub fn ipv4(&mut self, name: &str, bytes: [u8; 4]) {
        self.line.push_str(name);
        let mut digits = itoa::Buffer::new();
        for byte in bytes {
            self.line.push_str(digits.format(byte));
            self.line.push('.');
        }
        self.line.pop();
        self.line.push(' ');
    }

    /// An IPv6 address.
    pub fn ipv6(&mut self, name: &str, bytes: [u8; 16]) {
        self.line.push_str(name);
        push_ipv6(bytes, self.line);
        self.line.push(' ');
    }

    /// Bytes in lower-case hexadecimal, separated by colons.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        self.line.push_str(name);
        for (position, byte) in bytes.iter().enumerate() {
            if position > 0 {
                self.line.push(':');
            }
            self.line.push(DIGITS[usize::from(byte >> 4)]);
            self.line.push(DIGITS[usize::from(byte & 15)]);
        }
        self.line.push(' ');
    }

    /// `0x` and two upper-case digits.
    pub fn hex(&mut self, name: &str, value: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.line.push_str(name);
        self.line.push_str("0x");
        self.line.push(char::from(DIGITS[usize::from(value >> 4)]));
        self.line.push(char::from(DIGITS[usize::from(value & 15)]));
        self.line.push(' ');
    }

    /// A truncated header, of which `length` bytes are present. Nothing if the kernel may have cut it.
    pub fn truncated(&mut self, length: usize) {
        if self.cut {
            return;
        }
        self.number("LEN=", length);
        self.word("INVALID=LEN");
    }
}
