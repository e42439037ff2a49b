//! Words of a rule: checked once when made, so that what reaches a script is one word and nothing else.
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

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Token);

        impl $name {
            /// The longest name that the kernel tools take, in bytes.
            pub const MAX: usize = $length;

            /// `None` if the text is too long, or not a [`Token`].
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                (text.len() <= Self::MAX).then(|| Token::new(text).map($name))?
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}

name!(
    /// The name of a chain: at most 28 characters (iptables(8), `XT_EXTENSION_MAXNAMELEN`).
    ChainName,
    28
);
name!(
    /// The name of an IP set: at most 31 characters (ipset(8)).
    SetName,
    31
);
name!(
    /// An interface, or with a final `+` all whose names begin so: at most 15 characters (`IFNAMSIZ`).
    Interface,
    15
);

impl Interface {
    /// Whether this names the interface.
    #[must_use]
    pub fn covers(&self, interface: &str) -> bool {
        match self.as_str().strip_suffix('+') {
            Some(prefix) => interface.starts_with(prefix),
            None => interface == self.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_harmless_word() {
        for good in ["tcp", "10.0.0.0/8,fd00::1", "eth0:1", "fwln+", "80:85", "802_1Q"] {
            assert!(Token::new(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "a\tb", "a\nb", "a\0", "\"", "'", "a\\b", "-j", "ü", "a;b", "`x`"] {
            assert!(Token::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn names_have_the_kernels_limits() {
        assert!(ChainName::new(&"x".repeat(28)).is_some());
        assert!(ChainName::new(&"x".repeat(29)).is_none());
        assert!(SetName::new(&"x".repeat(32)).is_none());
        assert!(Interface::new(&"x".repeat(16)).is_none());
    }

    #[test]
    fn a_plus_covers_all_that_begin_so() {
        let wild = Interface::new("fwln+").unwrap();
        assert!(wild.covers("fwln100i0") && wild.covers("fwln") && !wild.covers("fwl"));
        assert!(!Interface::new("eth0").unwrap().covers("eth01"));
    }
}
