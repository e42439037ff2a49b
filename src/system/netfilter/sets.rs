//! The headers of IP sets.
use super::Summary;
use crate::nflog::netlink::{Attribute, attributes, until_zero};
use crate::system::netlink::{NLM_F_DUMP, NetfilterRequests};
use anyhow::Result;
use sha1::{Digest, Sha1};

/// `NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST` (`linux/netfilter/ipset/ip_set.h`, as all below).
const LIST: u16 = 6 << 8 | 7;
const PROTOCOL: u16 = 1;
/// The oldest protocol version that the supported kernels and tools accept.
const PROTOCOL_VERSION: u8 = 6;
const SETNAME: u16 = 2;
const FLAGS: u16 = 6;
/// With `NLA_F_NET_BYTEORDER`.
const FLAGS_NET: u16 = FLAGS | 1 << 14;
/// `IPSET_FLAG_LIST_HEADER`: no entries.
const HEADERS_ONLY: u32 = 1 << 2;
const DATA: u16 = 7;
/// The number of references, which depends on the rules and not on the set.
const REFERENCES: u16 = 25;
/// The size of the buffer for a reply about one set, in bytes. The kernel allocates this size for each reply, and is slower
/// with a larger one.
const ANSWER: usize = 8192;

/// The summary of the sets whose names `ours` accepts.
///
/// # Errors
/// When the kernel has no IP sets, or the process lacks `CAP_NET_ADMIN`.
pub fn sets(ours: impl Fn(&str) -> bool) -> Result<Summary> {
    let request = [(PROTOCOL, &[PROTOCOL_VERSION][..]), (FLAGS_NET, &HEADERS_ONLY.to_be_bytes())];
    let take = |sum: &mut Sha1, body: &[u8]| {
        add(sum, body, &ours);
        true
    };
    let sum = NetfilterRequests::open()?.query(0, LIST, NLM_F_DUMP, &request, &mut [0; ANSWER], take)?;
    Ok(Summary(sum.finalize()[..].into()))
}

fn add(sum: &mut Sha1, body: &[u8], ours: impl Fn(&str) -> bool) {
    let name = attributes(body).find(|(kind, _)| *kind == SETNAME).map(|(_, name)| until_zero(name));
    if !name.and_then(|name| str::from_utf8(name).ok()).is_some_and(ours) {
        return;
    }
    for (kind, content) in attributes(body) {
        if kind == DATA {
            let own_attributes = attributes(content).filter(|(kind, _)| *kind != REFERENCES);
            own_attributes.for_each(|attribute| add_attribute(sum, attribute));
        } else {
            add_attribute(sum, (kind, content));
        }
    }
}

fn add_attribute(sum: &mut Sha1, (kind, content): Attribute<'_>) {
    sum.update(kind.to_ne_bytes());
    sum.update(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nflog::netlink::{HEADER, Request};

    /// The attributes of a message about a set with this name, number of entries and number of references.
    fn header(name: &str, entries: u32, references: u32) -> Vec<u8> {
        const ELEMENTS: u16 = 24;
        let nested = Request::new(0, 0, 0, &[]).with(ELEMENTS, &entries.to_be_bytes());
        let nested = nested.with(REFERENCES, &references.to_be_bytes()).bytes();
        let name = format!("{name}\0");
        Request::new(0, 0, 0, &[]).with(SETNAME, name.as_bytes()).with(DATA, &nested[HEADER..]).bytes()[HEADER..].into()
    }

    fn sum(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut sum = Sha1::new();
        bodies.iter().for_each(|body| add(&mut sum, body, |name| name.starts_with("PVEFW-")));
        sum.finalize().to_vec()
    }

    #[test]
    fn the_summary_covers_our_sets_without_their_reference_counts() {
        let one = sum(&[header("PVEFW-a", 1, 0)]);
        assert_eq!(one, sum(&[header("other", 9, 9), header("PVEFW-a", 1, 7)]));
        assert_ne!(one, sum(&[header("PVEFW-a", 2, 0)]));
        assert_ne!(one, sum(&[header("PVEFW-b", 1, 0)]));
        assert_ne!(one, sum(&[]));
    }
}
