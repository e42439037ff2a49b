//! Words, checked on construction, so that text from a file reaches a tool's script only as a single word.
use ecow::EcoString;
use std::fmt;

/// A word that can be used unquoted in a restore script or on a command line: printable ASCII without blanks, quotes and
/// backslashes, not empty, not beginning with `-`.
///
/// There are hundreds of thousands, most of at most 15 bytes, which are stored without an allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(EcoString);

/// The bytes that a token can contain. A look-up is faster than comparisons.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        allowed[byte as usize] = !matches!(byte, b'"' | b'\'' | b'\\' | b'`' | b';');
        byte += 1;
    }
    allowed
};

fn is_token(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(|byte| ALLOWED[usize::from(byte)])
}

impl Token {
    /// `None` if the text is not such a word.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_token(text).then(|| Token(text.into()))
    }

    /// The word that consists of these parts; `None` if they are not such a word.
    #[must_use]
    pub fn concat(parts: &[&str]) -> Option<Self> {
        let mut text = EcoString::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| text.push_str(part));
        is_token(&text).then_some(Token(text))
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

    /// Another value with the same spelling.
    #[must_use]
    pub fn with_value<U>(&self, value: U) -> Spelled<U> {
        Spelled { text: self.text.clone(), value }
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
            let token = Token::new(good);
            assert!(token.is_some() && token == Token::concat(&[&good[..1], &good[1..]]), "{good}");
        }
        for bad in ["", "a b", "a\tb", "a\nb", "a\0", "\"", "'", "a\\b", "-j", "ü", "a;b", "`x`"] {
            assert!(Token::new(bad).is_none() && Token::concat(&["", bad]).is_none(), "{bad}");
        }
    }
}
