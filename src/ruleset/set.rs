//! IP sets of type hash:net.
use super::names::SetName;
use super::signature::{Signature, signature_of};
use super::{Family, Origin};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// An IP set: networks of one family, some of which may be exceptions (`nomatch`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The family of its entries.
    pub family: Family,
    /// The hash size, which is also the most entries that it takes: a power of two.
    pub size: u32,
    /// By the text of the entry, so in the order in which they are written.
    entries: BTreeMap<String, Entry>,
    /// Where the set comes from.
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    net: IpNet,
    nomatch: bool,
}

impl Set {
    /// An empty set with room for `count` entries: at least 64, and a power of two.
    #[must_use]
    pub fn new(family: Family, count: usize, origin: Origin) -> Self {
        let size = u32::try_from(count).unwrap_or(u32::MAX >> 1).max(64).next_power_of_two();
        Set { family, size, entries: BTreeMap::new(), origin }
    }

    /// Adds an entry as the kernel stores it, without host bits. One that is there already is replaced.
    pub fn add(&mut self, net: IpNet, nomatch: bool) {
        let net = net.trunc();
        self.entries.insert(canonical_net(net), Entry { net, nomatch });
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The networks, each with whether it is an exception.
    pub fn entries(&self) -> impl Iterator<Item = (IpNet, bool)> + '_ {
        self.entries.values().map(|entry| (entry.net, entry.nomatch))
    }

    /// The set under this name as `ipset restore` takes it: one `create`, then `add` lines.
    pub fn lines<'a>(&'a self, name: &'a SetName) -> impl Iterator<Item = String> + 'a {
        let family = match self.family {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        };
        let size = self.size;
        let create = format!("create {name} hash:net family {family} hashsize {size} maxelem {size} bucketsize 12");
        std::iter::once(create).chain(self.entries.iter().map(move |(text, entry)| {
            let nomatch = if entry.nomatch { " nomatch" } else { "" };
            format!("add {name} {text}{nomatch}")
        }))
    }

    /// The signature of the set under this name: that of its sorted lines.
    #[must_use]
    pub fn signature(&self, name: &SetName) -> Signature {
        let mut lines: Vec<_> = self.lines(name).collect();
        lines.sort_unstable();
        signature_of(lines)
    }

    /// Whether the kernel would find the address in the set: the longest prefix that holds it decides.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.entries
            .values()
            .filter(|entry| entry.net.contains(&address))
            .max_by_key(|entry| entry.net.prefix_len())
            .is_some_and(|entry| !entry.nomatch)
    }
}

/// An address as ipset(8) prints it, that is as inet_ntop(3) of the C library does.
#[must_use]
pub fn canonical_address(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if embeds_v4(v6) => {
            let [.., a, b, c, d] = v6.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        other => other.to_string(),
    }
}

/// An "IPv4-compatible" address (RFC 4291, 2.5.5.1): six zero words, then a word that is not zero.
fn embeds_v4(address: Ipv6Addr) -> bool {
    let words = address.segments();
    words[..6].iter().all(|word| *word == 0) && words[6] != 0
}

/// A network as ipset(8) prints it: canonical, and a whole address without its prefix length.
#[must_use]
pub fn canonical_net(net: IpNet) -> String {
    let address = canonical_address(net.network());
    if net.prefix_len() == net.max_prefix_len() { address } else { format!("{address}/{}", net.prefix_len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[(&str, bool)]) -> Set {
        let mut set = Set::new(Family::V4, entries.len(), Origin::Made("test".into()));
        for (net, nomatch) in entries {
            set.add(net.parse().unwrap(), *nomatch);
        }
        set
    }

    #[test]
    fn sizes_are_powers_of_two_from_64() {
        for (count, size) in [(0, 64), (64, 64), (65, 128), (128, 128), (4097, 8192)] {
            assert_eq!(Set::new(Family::V4, count, Origin::Made("test".into())).size, size);
        }
    }

    #[test]
    fn equal_entries_are_one_and_the_last_decides() {
        let set = set(&[("10.1.2.3/24", false), ("10.1.2.77/24", true), ("10.1.1.1/32", false)]);
        let name = SetName::new("s").unwrap();
        let lines: Vec<_> = set.lines(&name).skip(1).collect();
        assert_eq!(lines, ["add s 10.1.1.1", "add s 10.1.2.0/24 nomatch"]);
    }

    #[test]
    fn the_longest_prefix_decides() {
        let set = set(&[("10.0.0.0/8", false), ("10.1.0.0/16", true), ("10.1.2.3/32", false)]);
        for (address, inside) in [("10.2.2.2", true), ("10.1.9.9", false), ("10.1.2.3", true), ("11.0.0.1", false)] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn addresses_are_written_as_the_c_library_does() {
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
