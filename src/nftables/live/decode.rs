//! Decodes messages of nftables (`linux/netfilter/nf_tables.h`).
use crate::nflog::netlink::{attributes, until_zero};
use crate::nftables::ruleset::Signature;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;

/// A live chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveChain {
    /// The hook of a base chain: its number, and the priority.
    pub hook: Option<(u32, i32)>,
    /// Whether the policy of a base chain is DROP.
    pub drops: bool,
    /// Its rules, in order.
    pub rules: Vec<LiveRule>,
}

impl LiveChain {
    /// The signature in the comment of its last rule.
    #[must_use]
    pub fn signature(&self) -> Option<Signature> {
        self.rules.last()?.signature
    }

    /// A hash of its rules.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut sha = Sha1::new();
        self.rules.iter().for_each(|rule| sha.update(rule.digest.to_be_bytes()));
        first_bits(sha)
    }
}

/// A live rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveRule {
    /// Its handle.
    pub handle: u64,
    /// A hash of its expressions and its comment, which the kernel does not change by itself.
    pub digest: u64,
    /// The signature in its comment.
    pub signature: Option<Signature>,
}

/// A live set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSet {
    /// `NFT_SET_…`: 1 anonymous, 2 constant, 4 interval, 8 map, 16 timeout, 32 dynamic.
    pub flags: u32,
    /// The length of its keys in bytes.
    pub key_length: u32,
    /// The timeout of its elements, in milliseconds; 0 is none.
    pub timeout: u64,
    /// Its maximum number of elements; 0 is no limit.
    pub size: u32,
    /// Its elements, in the kernel's order. Those of dynamic sets are not read.
    pub elements: Vec<LiveElement>,
}

/// An element of a set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveElement {
    /// The key.
    pub key: Vec<u8>,
    /// Whether it is the end of an interval (`NFT_SET_ELEM_INTERVAL_END`), which is not part of the interval.
    pub ends: bool,
    /// The verdict of a map's element: `NFT_JUMP` or `NFT_GOTO`, and the chain.
    pub verdict: Option<(i32, String)>,
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(until_zero(content)).into_owned()
}

fn number(content: &[u8]) -> u32 {
    content.try_into().map(u32::from_be_bytes).unwrap_or_default()
}

fn long(content: &[u8]) -> u64 {
    content.try_into().map(u64::from_be_bytes).unwrap_or_default()
}

fn first_bits(sha: Sha1) -> u64 {
    sha.finalize().first_chunk().map(|bytes| u64::from_be_bytes(*bytes)).unwrap_or_default()
}

/// A table's name, and whether it is dormant.
pub(super) fn table(body: &[u8]) -> (String, bool) {
    const NAME: u16 = 1;
    const FLAGS: u16 = 2;
    const DORMANT: u32 = 1;
    let mut read = (String::new(), false);
    for (kind, content) in attributes(body) {
        match kind {
            NAME => read.0 = text(content),
            FLAGS => read.1 = number(content) & DORMANT != 0,
            _ => {}
        }
    }
    read
}

/// The table that a chain is in, its name, and the chain without its rules.
pub(super) fn chain(body: &[u8]) -> (String, String, LiveChain) {
    const TABLE: u16 = 1;
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const HOOK_NUMBER: u16 = 1;
    const HOOK_PRIORITY: u16 = 2;
    const POLICY: u16 = 5;
    const DROP: u32 = 0;
    let (mut of, mut name, mut chain) = (String::new(), String::new(), LiveChain::default());
    for (kind, content) in attributes(body) {
        match kind {
            TABLE => of = text(content),
            NAME => name = text(content),
            POLICY => chain.drops = number(content) == DROP,
            HOOK => {
                let of = |wanted| attributes(content).find(|(kind, _)| *kind == wanted).map(|(_, value)| number(value));
                chain.hook = of(HOOK_NUMBER).zip(of(HOOK_PRIORITY).map(u32::cast_signed));
            }
            _ => {}
        }
    }
    (of, name, chain)
}

/// The table and the chain that a rule is in, and the rule.
pub(super) fn rule(body: &[u8]) -> (String, String, LiveRule) {
    const TABLE: u16 = 1;
    const CHAIN: u16 = 2;
    const HANDLE: u16 = 3;
    const EXPRESSIONS: u16 = 4;
    const USERDATA: u16 = 7;
    let (mut of, mut chain, mut rule) = (String::new(), String::new(), LiveRule::default());
    let mut sha = Sha1::new();
    for (kind, content) in attributes(body) {
        match kind {
            TABLE => of = text(content),
            CHAIN => chain = text(content),
            HANDLE => rule.handle = long(content),
            EXPRESSIONS => sha.update(content),
            USERDATA => {
                sha.update(content);
                rule.signature = comment(content).as_deref().and_then(Signature::in_comment);
            }
            _ => {}
        }
    }
    rule.digest = first_bits(sha);
    (of, chain, rule)
}

/// The comment in the user data of a rule: entries of a type, a length and that many bytes.
fn comment(mut data: &[u8]) -> Option<String> {
    const COMMENT: u8 = 0;
    while let [kind, length, rest @ ..] = data {
        let content = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            return Some(text(content));
        }
        data = &rest[usize::from(*length)..];
    }
    None
}

/// The table that a set is in, its name, and the set without its elements.
pub(super) fn set(body: &[u8]) -> (String, String, LiveSet) {
    const TABLE: u16 = 1;
    const NAME: u16 = 2;
    const FLAGS: u16 = 3;
    const KEY_LENGTH: u16 = 5;
    const DESCRIPTION: u16 = 9;
    const DESCRIPTION_SIZE: u16 = 1;
    const TIMEOUT: u16 = 11;
    let (mut of, mut name, mut set) = (String::new(), String::new(), LiveSet::default());
    for (kind, content) in attributes(body) {
        match kind {
            TABLE => of = text(content),
            NAME => name = text(content),
            FLAGS => set.flags = number(content),
            KEY_LENGTH => set.key_length = number(content),
            TIMEOUT => set.timeout = long(content),
            DESCRIPTION => {
                let size = attributes(content).find(|(kind, _)| *kind == DESCRIPTION_SIZE);
                set.size = size.map(|(_, size)| number(size)).unwrap_or_default();
            }
            _ => {}
        }
    }
    (of, name, set)
}

/// The elements of a set in a message.
pub(super) fn elements(body: &[u8]) -> Vec<LiveElement> {
    const ELEMENTS: u16 = 3;
    let lists = attributes(body).filter(|(kind, _)| *kind == ELEMENTS);
    lists.flat_map(|(_, list)| attributes(list)).map(|(_, content)| element(content)).collect()
}

fn element(content: &[u8]) -> LiveElement {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    const INTERVAL_END: u32 = 1;
    const VALUE: u16 = 1;
    const VERDICT: u16 = 2;
    const VERDICT_CODE: u16 = 1;
    const VERDICT_CHAIN: u16 = 2;
    let mut read = LiveElement::default();
    for (kind, content) in attributes(content) {
        let inner: BTreeMap<u16, &[u8]> = attributes(content).collect();
        match kind {
            KEY => read.key = inner.get(&VALUE).map(|key| key.to_vec()).unwrap_or_default(),
            FLAGS => read.ends = number(content) & INTERVAL_END != 0,
            DATA => {
                let verdict: BTreeMap<u16, &[u8]> =
                    inner.get(&VERDICT).map(|verdict| attributes(verdict).collect()).unwrap_or_default();
                let code = verdict.get(&VERDICT_CODE).map(|code| number(code).cast_signed());
                let chain = verdict.get(&VERDICT_CHAIN).map(|chain| text(chain)).unwrap_or_default();
                read.verdict = code.map(|code| (code, chain));
            }
            _ => {}
        }
    }
    read
}

/// The object's table and name.
pub(super) fn object(body: &[u8]) -> (String, String) {
    const TABLE: u16 = 1;
    const NAME: u16 = 2;
    let of =
        |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, name)| text(name)).unwrap_or_default();
    (of(TABLE), of(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_among_other_attributes() {
        assert_eq!(comment(&[5, 1, 9, 0, 3, b'a', b'b', 0]).as_deref(), Some("ab"));
        for cut in [&[][..], &[0], &[0, 9, b'a'], &[5, 1, 9]] {
            assert_eq!(comment(cut), None);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for length in 0..400 {
            let bytes: Vec<u8> = (0..length).map(|_| random.u8(..12)).collect();
            let _ = (table(&bytes), chain(&bytes), rule(&bytes), set(&bytes), elements(&bytes), object(&bytes));
        }
    }
}
