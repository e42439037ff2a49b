//! Names of network interfaces.
use super::token::Token;
use std::fmt;

/// An interface name, or a prefix of names with a trailing `+`: at most 15 characters (`IFNAMSIZ`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(Token);

impl Interface {
    /// The maximum length of a name in the kernel, in bytes.
    pub const MAX: usize = 15;

    /// `None` if the text is too long, or not a [`Token`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= Self::MAX).then(|| Token::new(text).map(Interface))?
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether this name matches the interface.
    #[must_use]
    pub fn covers(&self, interface: &str) -> bool {
        match self.as_str().strip_suffix('+') {
            Some(prefix) => interface.starts_with(prefix),
            None => interface == self.as_str(),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_limit_of_the_kernel() {
        assert!(Interface::new(&"x".repeat(15)).is_some() && Interface::new(&"x".repeat(16)).is_none());
    }

    #[test]
    fn a_plus_sign_matches_all_interfaces_with_that_prefix() {
        let wild = Interface::new("fwln+").unwrap();
        assert!(wild.covers("fwln100i0") && wild.covers("fwln") && !wild.covers("fwl"));
        assert!(!Interface::new("eth0").unwrap().covers("eth01"));
    }
}
