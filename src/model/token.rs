//! Words, checked on construction, so that text from a file reaches a tool's script only as a single word.
use ecow::EcoString;
use std::fmt;

/// A word that can be used unquoted in a restore script or on a command line: printable ASCII without blanks, quotes and
/// backslashes, not empty, not beginning with `-`.
///
/// There are hundreds of thousands, most of at most 15 bytes, which are stored without an allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(EcoString);

impl Token {
    /// `None` if the text is not such a word.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'`' | b';');
        (!text.is_empty() && !text.starts_with('-') && text.bytes().all(plain)).then(|| Token(text.into()))
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A value with the user's spelling: rules are rendered with the spelling, and evaluated by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelled<T> {
    text: Token,
    /// The value.
    pub value: T,
}

impl<T> Spelled<T> {
    /// `None` if the text is not a [`Token`].
    #[must_use]
    pub fn new(text: &str, value: T) -> Option<Self> {
        Some(Spelled { text: Token::new(text)?, value })
    }

    /// The spelling.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.as_str()
    }
}

impl<T> fmt::Display for Spelled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_single_word_without_special_characters() {
        for good in ["tcp", "10.0.0.0/8,fd00::1", "eth0:1", "fwln+", "80:85", "802_1Q"] {
            assert!(Token::new(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "a\tb", "a\nb", "a\0", "\"", "'", "a\\b", "-j", "ü", "a;b", "`x`"] {
            assert!(Token::new(bad).is_none(), "{bad}");
        }
    }
}
