//! Intervals of addresses, and sets of intervals without overlaps, as in the kernel.
use crate::model::Family;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All addresses of one family from the first to the last, both included; the first is not greater than the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    first: IpAddr,
    last: IpAddr,
}

impl Interval {
    /// `None` if the addresses are of different families, or in the wrong order.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Interval { first, last })
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// The first and the last address.
    #[must_use]
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        (self.first, self.last)
    }

    /// Whether it contains an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// Whether it contains all addresses of its family.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.as_net().is_some_and(|net| net.prefix_len() == 0)
    }

    /// The network with these addresses; `None` if it is not a network.
    #[must_use]
    pub fn as_net(&self) -> Option<IpNet> {
        let net = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).next().map(IpNet::V4),
            (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).next().map(IpNet::V6),
            _ => None,
        };
        net.filter(|net| (net.network(), net.broadcast()) == (self.first, self.last))
    }
}

impl From<IpNet> for Interval {
    fn from(net: IpNet) -> Self {
        Interval { first: net.network(), last: net.broadcast() }
    }
}

impl From<IpAddr> for Interval {
    fn from(address: IpAddr) -> Self {
        Interval { first: address, last: address }
    }
}

/// Addresses of one family: intervals in order, which are neither overlapping nor adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IntervalSet(Vec<Interval>);

impl IntervalSet {
    /// The union of intervals of one family.
    #[must_use]
    pub fn union(intervals: impl IntoIterator<Item = Interval>) -> Self {
        let mut sorted: Vec<_> = intervals.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<Interval> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match merged.last_mut() {
                Some(last) if last.last >= next.first || after(last.last) == Some(next.first) => {
                    last.last = last.last.max(next.last);
                }
                _ => merged.push(next),
            }
        }
        IntervalSet(merged)
    }

    /// The addresses of a family in networks and exceptions (`nomatch`), like a lookup in a `hash:net` of ipset(8): the longest
    /// prefix that contains an address decides, and of equal ones the last.
    #[must_use]
    pub fn of_entries(family: Family, entries: impl IntoIterator<Item = (IpNet, bool)>) -> Self {
        let own = entries.into_iter().filter(|(net, _)| Family::of(net.addr()) == family);
        let mut entries: Vec<(IpNet, bool)> = own.map(|(net, nomatch)| (net.trunc(), nomatch)).collect();
        // a stable sort keeps the order of equal networks
        entries.sort_by_key(|(net, _)| (net.network(), net.prefix_len()));
        let mut pieces = Vec::new();
        // the networks that contain the next address, the longest prefix last, each with the first address not yet decided
        let mut open: Vec<(IpNet, bool)> = Vec::new();
        let mut from = None;
        for (net, nomatch) in entries {
            while let Some((outer, outer_nomatch)) = open.last().copied().filter(|(outer, _)| !outer.contains(&net)) {
                close(&mut pieces, &mut from, outer.broadcast(), outer_nomatch);
                open.pop();
            }
            if let Some((_, outer_nomatch)) = open.last()
                && let Some(before) = before(net.network())
            {
                close(&mut pieces, &mut from, before, *outer_nomatch);
            }
            from = Some(net.network());
            open.push((net, nomatch));
        }
        while let Some((net, nomatch)) = open.pop() {
            close(&mut pieces, &mut from, net.broadcast(), nomatch);
        }
        IntervalSet::union(pieces)
    }

    /// The intervals, in order.
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        &self.0
    }

    /// Whether it contains an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let at = self.0.partition_point(|interval| interval.last < address);
        self.0.get(at).is_some_and(|interval| interval.contains(address))
    }

    /// Whether it contains no addresses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Adds the addresses from `from` to `last` unless `nomatch`, and sets `from` to the address after `last`.
fn close(pieces: &mut Vec<Interval>, from: &mut Option<IpAddr>, last: IpAddr, nomatch: bool) {
    if let Some(piece) = from.and_then(|first| Interval::new(first, last)) {
        pieces.extend(Some(piece).filter(|_| !nomatch));
        *from = after(last);
    }
}

/// The next address; `None` after the last one.
pub(in crate::nftables) fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_sub(1).map(|last| Ipv4Addr::from(last).into()),
        IpAddr::V6(v6) => u128::from(v6).checked_sub(1).map(|last| Ipv6Addr::from(last).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(set: &IntervalSet) -> Vec<String> {
        set.intervals().iter().map(|one| format!("{}-{}", one.first, one.last)).collect()
    }

    #[test]
    fn the_longest_prefix_decides_and_of_equal_ones_the_last() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        for (entries, expected) in [
            (vec![("10.0.0.0/8", false), ("10.0.0.0/8", true)], vec![]),
            (vec![("10.0.0.0/8", true), ("10.0.0.0/8", false)], vec!["10.0.0.0-10.255.255.255"]),
            (vec![("10.0.0.0/24", false), ("10.0.0.4/30", true)], vec!["10.0.0.0-10.0.0.3", "10.0.0.8-10.0.0.255"]),
            (
                vec![("10.0.0.0/24", false), ("10.0.0.0/25", true), ("10.0.0.7/32", false)],
                vec!["10.0.0.7-10.0.0.7", "10.0.0.128-10.0.0.255"],
            ),
            (vec![("10.0.1.0/24", false), ("10.0.0.0/24", false)], vec!["10.0.0.0-10.0.1.255"]),
            (vec![("255.255.255.255/32", false), ("0.0.0.0/0", true)], vec!["255.255.255.255-255.255.255.255"]),
            (vec![("0.0.0.0/1", false), ("128.0.0.0/1", false)], vec!["0.0.0.0-255.255.255.255"]),
            (vec![("10.9.9.9/8", false)], vec!["10.0.0.0-10.255.255.255"]),
        ] {
            let entries = entries.iter().map(|(text, nomatch)| (net(text), *nomatch));
            assert_eq!(shown(&IntervalSet::of_entries(Family::V4, entries)), expected);
        }
    }

    #[test]
    fn sets_agree_with_a_lookup_in_each_entry() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let count = random.usize(0..9);
            let entry = |random: &mut fastrand::Rng| {
                let net = ipnet::Ipv4Net::new(Ipv4Addr::new(10, 0, 0, random.u8(..)), random.u8(22..=32)).unwrap();
                (IpNet::V4(net), random.bool())
            };
            let entries: Vec<_> = (0..count).map(|_| entry(&mut random)).collect();
            let set = IntervalSet::of_entries(Family::V4, entries.iter().copied());
            for low in 0..=1023_u32 {
                let address = IpAddr::V4(Ipv4Addr::from(0x09ff_fe00 + low));
                let holding = entries.iter().rev().filter(|(net, _)| net.contains(&address));
                let decides = holding.rev().max_by_key(|(net, _)| net.prefix_len());
                let wanted = decides.is_some_and(|(_, nomatch)| !nomatch);
                assert_eq!(set.contains(address), wanted, "{entries:?} {address}");
            }
        }
    }

    #[test]
    fn networks_are_recognised() {
        let interval = |first: &str, last: &str| Interval::new(first.parse().unwrap(), last.parse().unwrap()).unwrap();
        for (first, last, net) in [
            ("10.0.0.0", "10.0.0.255", Some("10.0.0.0/24")),
            ("10.0.0.1", "10.0.0.1", Some("10.0.0.1/32")),
            ("10.0.0.1", "10.0.0.2", None),
            ("10.0.0.0", "10.0.1.0", None),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("::/0")),
        ] {
            assert_eq!(interval(first, last).as_net().map(|net| net.to_string()).as_deref(), net, "{first}-{last}");
        }
        assert!(Interval::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()).is_none());
    }
}
