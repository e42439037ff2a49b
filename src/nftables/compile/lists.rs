//! Lists of addresses and ports: short lists become several rules, longer ones named sets.
//!
//! The cost of creating and looking up a set grows with the number of sets in its table, and rules are cheap, so sets are
//! better only for long lists.
use super::TablePart;
use super::chain_builder::generated;
use crate::model::Family;
use crate::nftables::names::{address_list, port_list};
use crate::nftables::ruleset::{Addresses, IntervalSet, Match, Set, SetKind, Side};
use sha1::{Digest, Sha1};
use std::sync::Arc;

/// Maximum number of rules for one rule of the configuration, for each of its terms.
pub const MAX_ALTERNATIVES: usize = 8;

/// Alternatives, one of which a packet must match.
pub enum OneOf {
    /// Addresses of a family.
    Addresses(Side, Family, IntervalSet),
    /// Ports of a protocol: ordered ranges, neither overlapping nor adjacent.
    Ports(u8, Side, Vec<(u16, u16)>),
}

impl OneOf {
    /// The number of rules for these alternatives.
    fn count(&self) -> usize {
        match self {
            OneOf::Addresses(_, _, set) => set.intervals().len(),
            OneOf::Ports(_, _, ranges) => ranges.len(),
        }
    }

    fn each(&self) -> Vec<Match> {
        match self {
            OneOf::Addresses(side, _, set) => {
                set.intervals().iter().map(|interval| super::chain_builder::address(*side, *interval)).collect()
            }
            OneOf::Ports(protocol, side, ranges) => {
                let port = |ports: &(u16, u16)| Match::Port { protocol: *protocol, side: *side, ports: *ports };
                ranges.iter().map(port).collect()
            }
        }
    }

    /// The match against a set of these alternatives, which is added to the sets of `part`.
    fn as_set(&self, part: &mut TablePart) -> Match {
        let (name, kind, one) = match self {
            OneOf::Addresses(side, family, set) => {
                let name = address_list(*family, digest(set.intervals().iter().map(|one| format!("{:?}", one.ends()))));
                let addresses = Addresses::Set(*family, name.clone());
                let kind = SetKind::Addresses(*family, set.clone());
                (name, kind, Match::Address { side: *side, negated: false, addresses })
            }
            OneOf::Ports(protocol, side, ranges) => {
                let name = port_list(digest(ranges.iter().map(|range| format!("{range:?}"))));
                let one = Match::PortIn { protocol: *protocol, side: *side, set: name.clone() };
                (name, SetKind::Ports(ranges.clone()), one)
            }
        };
        let origin = generated("a list of rules");
        part.uses.lists.entry(name).or_insert_with(|| Arc::new(Set { kind, origin }));
        one
    }
}

fn digest(pieces: impl Iterator<Item = String>) -> u64 {
    let mut sha = Sha1::new();
    pieces.for_each(|piece| sha.update(piece));
    let bytes = sha.finalize();
    u64::from_be_bytes(*bytes.first_chunk().expect("20 bytes"))
}

/// All combinations of one alternative of each list, at most [`MAX_ALTERNATIVES`]: the longest lists become sets. None if a list is
/// empty.
pub fn combinations(lists: &[OneOf], part: &mut TablePart) -> Vec<Vec<Match>> {
    let mut counts: Vec<usize> = lists.iter().map(OneOf::count).collect();
    while counts.iter().product::<usize>() > MAX_ALTERNATIVES
        && let Some(longest) = counts.iter_mut().max()
    {
        *longest = 1;
    }
    let mut all = vec![Vec::new()];
    for (list, count) in lists.iter().zip(counts) {
        let each = if count < list.count() { vec![list.as_set(part)] } else { list.each() };
        let extended =
            |matches: Vec<Match>| each.iter().map(move |one| [&matches[..], std::slice::from_ref(one)].concat());
        all = all.into_iter().flat_map(extended).collect();
    }
    all
}

/// The ranges in order; overlapping and adjacent ones are merged.
pub fn merged_ports(ranges: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted {
        match merged.last_mut() {
            Some((_, end)) if *end == u16::MAX || first <= *end + 1 => *end = (*end).max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_ports_are_one_range() {
        assert_eq!(merged_ports(&[(80, 80), (22, 22), (81, 90), (85, 95)]), [(22, 22), (80, 95)]);
        assert_eq!(merged_ports(&[(0, u16::MAX), (5, 5)]), [(0, u16::MAX)]);
    }

    #[test]
    fn long_lists_become_sets_and_short_ones_rules() {
        let ports = |count: u16| OneOf::Ports(6, Side::Destination, (0..count).map(|at| (10 * at, 10 * at)).collect());
        for (lists, rules, sets) in [(vec![ports(8)], 8, 0), (vec![ports(9)], 1, 1), (vec![ports(3), ports(4)], 3, 1)] {
            let mut part = TablePart::default();
            assert_eq!((combinations(&lists, &mut part).len(), part.uses.lists.len()), (rules, sets));
        }
        assert!(combinations(&[ports(0), ports(9)], &mut TablePart::default()).is_empty());
    }
}
