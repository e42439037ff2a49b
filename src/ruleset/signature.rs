//! Signatures: what tells a chain or set that is live from one that is wanted.
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha1::{Digest, Sha1};
use std::fmt;

/// The SHA-1 of a chain's or set's lines, without line ends; shown as base64 without padding, 27 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; 20]);

impl Signature {
    /// Reads a signature as it is shown; `None` if the text is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD_NO_PAD.decode(text).ok()?.try_into().ok().map(Signature)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The signature of lines, in this order.
pub fn signature_of<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Signature {
    let mut sha = Sha1::new();
    for line in lines {
        sha.update(line.as_ref().as_bytes());
    }
    Signature(sha.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_live_nodes() {
        assert_eq!(signature_of(["-A PVEFW-INPUT -j PVEFW-HOST-IN"]).to_string(), "+5iMmLaxKXynOB/+5xibfx7WhFk");
        let empty = signature_of::<&str>([]);
        assert_eq!(empty.to_string(), "2jmj7l5rSw0yVb/vlWAYkK/YBwk");
        assert_eq!(Signature::parse(&empty.to_string()), Some(empty));
        assert_eq!(Signature::parse("unknown"), None);
    }
}
