//! IP sets of type hash:net.
use super::names::SetName;
use super::signature::{CachedSignature, Signature};
use super::write_helpers::{number, put, string};
use super::{Family, Origin};
use ecow::EcoString;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

/// An IP set: networks of one family, some of which may be excluded (`nomatch`).
#[derive(Clone, Debug)]
pub struct Set {
    /// The family of its entries.
    pub family: Family,
    /// The hash size and maximum number of entries: a power of two.
    pub size: u32,
    /// Sorted by the text of the entry, which is the order of the lines.
    entries: BTreeMap<EcoString, SetMember>,
    /// The prefix lengths of the entries, a bit for each; 0 has none.
    lengths: u128,
    /// The origin of the set.
    pub origin: Origin,
    signature: CachedSignature<SetName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SetMember {
    net: IpNet,
    nomatch: bool,
}

impl SetMember {
    fn put(self, text: &str, name: &SetName, out: &mut impl Write) -> fmt::Result {
        put(out, &["add ", name.as_str(), " ", text, if self.nomatch { " nomatch" } else { "" }])
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        (self.family, self.size, &self.entries, &self.origin)
            == (other.family, other.size, &other.entries, &other.origin)
    }
}

impl Eq for Set {}

impl Set {
    /// An empty set with space for `count` entries, rounded up to a power of two of at least 64.
    #[must_use]
    pub fn new(family: Family, count: usize, origin: Origin) -> Self {
        let size = u32::try_from(count).unwrap_or(u32::MAX >> 1).max(64).next_power_of_two();
        Set { family, size, entries: BTreeMap::new(), lengths: 0, origin, signature: CachedSignature::default() }
    }

    /// Adds an entry without host bits, as the kernel stores it. Replaces an existing one.
    pub fn add(&mut self, net: IpNet, nomatch: bool) {
        let net = net.trunc();
        self.signature = CachedSignature::default();
        self.lengths |= bit(net.prefix_len());
        let mut text = EcoString::new();
        // writing to a string never fails
        let _ = put_net(net, &mut text);
        self.entries.insert(text, SetMember { net, nomatch });
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The networks, each with its `nomatch` flag.
    pub fn entries(&self) -> impl Iterator<Item = (IpNet, bool)> + '_ {
        self.entries.values().map(|entry| (entry.net, entry.nomatch))
    }

    /// The set with this name as lines for `ipset restore`: one `create`, then `add` lines.
    pub fn lines<'a>(&'a self, name: &'a SetName) -> impl Iterator<Item = String> + 'a {
        let adds = self.entries.iter().map(move |(text, entry)| string(|out| entry.put(text, name, out)));
        std::iter::once(string(|out| self.put_create(name, out))).chain(adds)
    }

    fn put_create(&self, name: &SetName, out: &mut impl Write) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        };
        put(out, &["create ", name.as_str(), " hash:net family ", family, " hashsize "])?;
        number(out, self.size)?;
        out.write_str(" maxelem ")?;
        number(out, self.size)?;
        out.write_str(" bucketsize 12")
    }

    /// The signature of the set with this name, computed from its sorted lines.
    #[must_use]
    pub fn signature(&self, name: &SetName) -> Signature {
        let make = || {
            Signature::of_text(|out| {
                // `add` sorts before `create`, and a blank before any character of an entry
                self.entries.iter().try_for_each(|(text, entry)| entry.put(text, name, out))?;
                self.put_create(name, out)
            })
        };
        self.signature.get(name, make)
    }

    /// Whether the address matches the set: the longest matching prefix decides, as in the kernel.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        if self.entries.len() <= MAX_LINEAR {
            let entries = self.entries.values().filter(|entry| entry.net.contains(&address));
            return entries.max_by_key(|entry| entry.net.prefix_len()).is_some_and(|entry| !entry.nomatch);
        }
        // an entry is looked up by its text, so that the time hardly depends on the number of entries
        let longest_first = (0..=128).rev().filter(|length| *length == 0 || self.lengths & bit(*length) != 0);
        let mut nets = longest_first.filter_map(|length| IpNet::new(address, length).ok());
        nets.find_map(|net| self.entries.get(canonical_net(net.trunc()).as_str())).is_some_and(|entry| !entry.nomatch)
    }
}

/// Up to this number, entries are compared one by one.
const MAX_LINEAR: usize = 64;

/// The bit of a prefix length from 1 to 128; 0 has none.
fn bit(length: u8) -> u128 {
    length.checked_sub(1).map_or(0, |at| 1 << at)
}

/// An address as printed by ipset(8), in the format of inet_ntop(3).
#[must_use]
pub fn canonical_address(address: IpAddr) -> String {
    string(|out| put_address(address, out))
}

fn put_address(address: IpAddr, out: &mut impl Write) -> fmt::Result {
    match address {
        IpAddr::V6(v6) if embeds_v4(v6) => {
            let [.., a, b, c, d] = v6.octets();
            write!(out, "::{a}.{b}.{c}.{d}")
        }
        IpAddr::V6(v6) => write!(out, "{v6}"),
        // the common case, faster than the formatter
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            number(out, a.into())?;
            [b, c, d].into_iter().try_for_each(|octet| {
                out.write_str(".")?;
                number(out, octet.into())
            })
        }
    }
}

/// An "IPv4-compatible" address (RFC 4291, 2.5.5.1): six zero words, then a word that is not zero.
fn embeds_v4(address: Ipv6Addr) -> bool {
    let words = address.segments();
    words[..6].iter().all(|word| *word == 0) && words[6] != 0
}

/// A network as printed by ipset(8): canonical, and a single address without prefix length.
#[must_use]
pub fn canonical_net(net: IpNet) -> String {
    string(|out| put_net(net, out))
}

fn put_net(net: IpNet, out: &mut impl Write) -> fmt::Result {
    put_address(net.network(), out)?;
    if net.prefix_len() < net.max_prefix_len() {
        out.write_str("/")?;
        number(out, net.prefix_len().into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn set(entries: &[(&str, bool)]) -> Set {
        let mut set = Set::new(Family::V4, entries.len(), Origin::Generated("test".into()));
        for (net, nomatch) in entries {
            set.add(net.parse().unwrap(), *nomatch);
        }
        set
    }

    #[test]
    fn sizes_are_powers_of_two_from_64() {
        for (count, size) in [(0, 64), (64, 64), (65, 128), (128, 128), (4097, 8192)] {
            assert_eq!(Set::new(Family::V4, count, Origin::Generated("test".into())).size, size);
        }
    }

    #[test]
    fn of_equal_entries_the_last_is_kept() {
        let set = set(&[("10.1.2.3/24", false), ("10.1.2.77/24", true), ("10.1.1.1/32", false)]);
        let name = SetName::new("s").unwrap();
        let lines: Vec<_> = set.lines(&name).skip(1).collect();
        assert_eq!(lines, ["add s 10.1.1.1", "add s 10.1.2.0/24 nomatch"]);
    }

    #[test]
    fn signatures_of_sets_use_sorted_lines() {
        let set = set(&[("10.1.1.1/32", true), ("10.1.1.10/32", false), ("10.1.1.0/31", true), ("10.1.1.1/32", true)]);
        let name = SetName::new("s").unwrap();
        let mut lines: Vec<_> = set.lines(&name).collect();
        lines.sort_unstable();
        assert_eq!(set.signature(&name), crate::iptables::ruleset::signature_of(lines));
    }

    #[test]
    fn the_longest_matching_prefix_decides() {
        let set = set(&[("10.0.0.0/8", false), ("10.1.0.0/16", true), ("10.1.2.3/32", false)]);
        let mut large = set.clone();
        (0..=MAX_LINEAR).for_each(|at| {
            large.add(IpNet::new(Ipv4Addr::from_bits(u32::try_from(at).unwrap()).into(), 32).unwrap(), false)
        });
        for (address, inside) in [("10.2.2.2", true), ("10.1.9.9", false), ("10.1.2.3", true), ("11.0.0.1", false)] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
            assert_eq!(large.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn addresses_are_printed_as_by_the_c_library() {
        for (from, to) in [
            ("2001:DB8:0:85A3:0:0:AC1F:8002", "2001:db8:0:85a3::ac1f:8002"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("::1", "::1"),
            ("::1:2", "::0.1.0.2"),
            ("0:0:0:0:0:0:c0a8:1", "::192.168.0.1"),
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ] {
            assert_eq!(canonical_address(from.parse().unwrap()), to);
        }
    }
}
