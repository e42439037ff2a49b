//! Words: checked once when made, so that what reaches a tool's script is one word and nothing else.
use ecow::EcoString;
use std::fmt;

/// A word that may stand in a restore script or on a command line as it is: printable ASCII without blanks, quotes and
/// backslashes, not empty, not beginning with `-`.
///
/// There are hundreds of thousands, and nearly all have at most 15 bytes: these are held without an allocation.
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

/// A value beside the user's spelling of it: rules are written as the user spelled them, and understood by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelled<T> {
    text: Token,
    /// What the text means.
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
