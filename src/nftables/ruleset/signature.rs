//! Signatures, by which live and wanted chains are compared.
use sha1::{Digest, Sha1};
use std::fmt;

/// The first 128 bits of the SHA-1 of a chain's rules, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(u128);

/// The prefix of a signature in the comment of a chain's last rule.
const MARK: &str = "PVESIG:";

impl Signature {
    /// The signature of the texts of rules.
    #[must_use]
    pub fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut sha = Sha1::new();
        for text in texts {
            sha.update(text.as_ref());
            sha.update(b"\n");
        }
        let bytes = sha.finalize();
        Signature(u128::from_be_bytes(*bytes.first_chunk().expect("20 bytes")))
    }

    /// The signature that a comment ends with.
    #[must_use]
    pub fn in_comment(comment: &str) -> Option<Self> {
        let (_, digits) = comment.rsplit_once(MARK)?;
        let plain = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u128::from_str_radix(digits, 16).ok().map(Signature))?
    }
}

impl fmt::Display for Signature {
    /// The form in comments, with the prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_parsed_from_comments() {
        let one = Signature::of(["a", "b"]);
        assert_eq!(Signature::in_comment(&format!("100.fw:7 {one}")), Some(one));
        assert_ne!(one, Signature::of(["ab"]));
        for other in ["100.fw:7", "PVESIG:", "PVESIG:xyz", &format!("{one}0")] {
            assert_eq!(Signature::in_comment(other), None, "{other}");
        }
    }
}
