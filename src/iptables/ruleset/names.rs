//! Names of chains and sets, with the limits of the kernel.
use crate::model::Token;
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Token);

        impl $name {
            /// The maximum length of a name in the kernel, in bytes.
            pub const MAX: usize = $length;

            /// `None` if the text is too long, or not a [`Token`].
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                (text.len() <= Self::MAX).then(|| Token::new(text).map($name))?
            }

            /// The name that consists of these parts; `None` as for [`new`](Self::new).
            #[must_use]
            pub fn concat(parts: &[&str]) -> Option<Self> {
                Token::concat(parts).filter(|name| name.as_str().len() <= Self::MAX).map($name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_limited_as_in_the_kernel() {
        assert!(ChainName::new(&"x".repeat(28)).is_some());
        assert!(ChainName::new(&"x".repeat(29)).is_none());
        assert_eq!(ChainName::concat(&["PVEFW", "-", "INPUT"]), ChainName::new("PVEFW-INPUT"));
        assert!(ChainName::concat(&["PVEFW-", &"x".repeat(23)]).is_none());
        assert!(SetName::new(&"x".repeat(32)).is_none());
    }
}

/// An iptables table with rules of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    /// `filter`
    Filter,
    /// `raw`
    Raw,
}

impl TableName {
    /// Both, in the order in which they are applied.
    pub const ALL: [TableName; 2] = [TableName::Filter, TableName::Raw];

    /// The name for iptables(8).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TableName::Filter => "filter",
            TableName::Raw => "raw",
        }
    }
}
