//! Signatures, by which live and wanted chains and sets are compared.
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha1::{Digest, Sha1};
use std::fmt;
use std::sync::OnceLock;

/// The SHA-1 of a chain's or set's lines, without line ends; shown as base64 without padding, 27 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; 20]);

impl Signature {
    /// Parses a signature; `None` if the text is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD_NO_PAD.decode(text).ok()?.try_into().ok().map(Signature)
    }

    /// The signature of the text written by a function.
    pub(super) fn of_text(write: impl FnOnce(&mut Signing) -> fmt::Result) -> Self {
        let mut signing = Signing { sha: Sha1::new(), text: [0; BUFFER_SIZE], length: 0 };
        // hashing never fails
        let _ = write(&mut signing);
        signing.flush();
        Signature(signing.sha.finalize().into())
    }
}

/// The size of the hash buffer, in bytes.
const BUFFER_SIZE: usize = 1024;

/// Hashes text as it is written, without storing it.
pub(super) struct Signing {
    sha: Sha1,
    /// Text that is not hashed yet, in the first `length` bytes.
    text: [u8; BUFFER_SIZE],
    length: usize,
}

impl Signing {
    fn flush(&mut self) {
        self.sha.update(&self.text[..self.length]);
        self.length = 0;
    }
}

impl fmt::Write for Signing {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.length + text.len() > BUFFER_SIZE {
            self.flush();
        }
        match self.text.get_mut(self.length..self.length + text.len()) {
            Some(space) => {
                space.copy_from_slice(text.as_bytes());
                self.length += text.len();
            }
            None => self.sha.update(text),
        }
        Ok(())
    }
}

/// The cached signature of an immutable item with the name of the first call; an item has a single name.
#[derive(Clone, Debug)]
pub(super) struct CachedSignature<N>(OnceLock<(N, Signature)>);

impl<N> Default for CachedSignature<N> {
    fn default() -> Self {
        CachedSignature(OnceLock::new())
    }
}

impl<N: Clone + PartialEq> CachedSignature<N> {
    /// The signature for a name; computed if it is not cached.
    pub fn get(&self, name: &N, make: impl Fn() -> Signature) -> Signature {
        let (of, signature) = self.0.get_or_init(|| (name.clone(), make()));
        if of == name { *signature } else { make() }
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

/// Computes the signature of lines without storing them.
#[derive(Clone, Default)]
pub struct LineSigner(Sha1);

impl LineSigner {
    /// Adds a line.
    pub fn add(&mut self, line: &str) {
        self.0.update(line.as_bytes());
    }

    /// The signature of the lines so far.
    #[must_use]
    pub fn signature(self) -> Signature {
        Signature(self.0.finalize().into())
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
    use std::fmt::Write;

    #[test]
    fn signatures_match_recorded_nodes() {
        assert_eq!(signature_of(["-A PVEFW-INPUT -j PVEFW-HOST-IN"]).to_string(), "+5iMmLaxKXynOB/+5xibfx7WhFk");
        let empty = signature_of::<&str>([]);
        assert_eq!(empty.to_string(), "2jmj7l5rSw0yVb/vlWAYkK/YBwk");
        assert_eq!(Signature::parse(&empty.to_string()), Some(empty));
        assert_eq!(Signature::parse("unknown"), None);
    }

    #[test]
    fn chunks_of_any_size_are_joined() {
        for sizes in [
            vec![1; 9000],
            vec![BUFFER_SIZE - 1, 1, 1],
            vec![3, BUFFER_SIZE + 1, 3],
            vec![BUFFER_SIZE, BUFFER_SIZE],
            vec![],
        ] {
            let pieces: Vec<String> = sizes.iter().map(|size| "x".repeat(*size)).collect();
            let signed = Signature::of_text(|out| pieces.iter().try_for_each(|piece| out.write_str(piece)));
            assert_eq!(signed, signature_of([pieces.concat()]));
        }
    }

    #[test]
    fn another_name_has_another_signature() {
        let remembered = CachedSignature::default();
        let get = |name| remembered.get(&name, || signature_of([name]));
        assert_eq!([get("a"), get("b"), get("a")], [signature_of(["a"]), signature_of(["b"]), signature_of(["a"])]);
    }
}
