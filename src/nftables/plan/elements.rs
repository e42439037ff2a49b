//! Compares sets and maps with their live elements.
use crate::model::{Family, Interface};
use crate::nftables::live::{LiveElement, LiveSet};
use crate::nftables::ruleset::{DynamicSet, IntervalSet, Map, MapKey, Set, SetKind, VerdictTarget, after};
use std::net::IpAddr;

const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const TIMEOUT: u32 = 16;
const DYNAMIC: u32 = 32;
/// The flags that define the type of a set.
const KIND: u32 = INTERVAL | MAP | TIMEOUT | DYNAMIC;
/// `NFT_JUMP` and `NFT_GOTO`.
const JUMP: i32 = -3;
const GOTO: i32 = -4;
/// `IFNAMSIZ`: names are padded with zeros.
const NAME: usize = 16;

/// Whether a live set has the type of a wanted one.
pub fn fits_set(live: &LiveSet, wanted: &Set) -> bool {
    let length = match wanted.kind {
        SetKind::Addresses(Family::V4, _) => 4,
        SetKind::Addresses(Family::V6, _) => 16,
        SetKind::Ports(_) => 2,
    };
    live.flags & KIND == INTERVAL && live.key_length == length
}

/// Whether a live map has the type of a wanted one.
pub fn fits_map(live: &LiveSet, wanted: &Map) -> bool {
    let length = if wanted.key == MapKey::Bridges { 2 * NAME } else { NAME };
    live.flags & KIND == MAP && u32::try_from(length) == Ok(live.key_length)
}

/// Whether a live dynamic set has the type of a wanted one.
pub fn fits_dynamic(live: &LiveSet, wanted: &DynamicSet) -> bool {
    let length = if wanted.family == Family::V4 { 4 } else { 16 };
    let kind = live.flags & KIND == TIMEOUT | DYNAMIC && live.key_length == length;
    kind && live.timeout == wanted.timeout * 1000 && live.size == wanted.size
}

/// Whether a live set has the elements of a wanted one.
pub fn same_elements(live: &LiveSet, wanted: &Set) -> bool {
    intervals(&live.elements) == intervals(&wanted_elements(&wanted.kind))
}

/// The first key of each interval, and the key after its last one.
fn intervals(elements: &[LiveElement]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut sorted: Vec<_> = elements.iter().map(|element| (&element.key, !element.ends)).collect();
    sorted.sort_unstable();
    let mut intervals: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    for (key, begins) in sorted {
        match intervals.last_mut() {
            _ if begins => intervals.push((key.clone(), None)),
            Some((_, end @ None)) => *end = Some(key.clone()),
            // the elements may begin with the end of no interval
            _ => {}
        }
    }
    intervals
}

fn wanted_elements(kind: &SetKind) -> Vec<LiveElement> {
    let element = |key: Vec<u8>, ends| LiveElement { key, ends, verdict: None };
    let both = |first: Vec<u8>, behind: Option<Vec<u8>>| {
        [Some(element(first, false)), behind.map(|key| element(key, true))].into_iter().flatten()
    };
    match kind {
        SetKind::Addresses(_, set) => addresses(set).flat_map(|(first, behind)| both(first, behind)).collect(),
        SetKind::Ports(ranges) => {
            let bytes = |port: u16| port.to_be_bytes().to_vec();
            let range = |(first, last): &(u16, u16)| both(bytes(*first), last.checked_add(1).map(bytes));
            ranges.iter().flat_map(range).collect()
        }
    }
}

fn addresses(set: &IntervalSet) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + '_ {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    set.intervals().iter().map(move |interval| {
        let (first, last) = interval.ends();
        (bytes(first), after(last).map(bytes))
    })
}

/// The key of a map's element.
pub fn map_key(key: MapKey, name: &Interface) -> Vec<u8> {
    let mut bytes = name.as_str().as_bytes().to_vec();
    bytes.resize(NAME, 0);
    if key == MapKey::Bridges { bytes.repeat(2) } else { bytes }
}

/// The interface in the key of a live element; `None` if a map of ours cannot contain it.
pub fn key_name(key: &[u8]) -> Option<Interface> {
    let name = key.get(..NAME)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    Interface::new(std::str::from_utf8(&name[..end]).ok()?)
}

/// Whether a live element has the wanted verdict.
pub fn same_verdict(live: &LiveElement, wanted: &VerdictTarget) -> bool {
    let code = match wanted {
        VerdictTarget::Jump(_) => JUMP,
        VerdictTarget::Goto(_) => GOTO,
    };
    live.verdict.as_ref().is_some_and(|(live, chain)| *live == code && chain == wanted.chain().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Origin;

    #[test]
    fn live_intervals_are_compared_by_content() {
        let nets = ["10.0.0.0/8", "255.255.255.255/32"].map(|net| (net.parse().unwrap(), false));
        let kind = SetKind::Addresses(Family::V4, IntervalSet::of_entries(Family::V4, nets));
        let wanted = Set { kind, origin: Origin::Generated("test".into()) };
        let element = |key: [u8; 4], ends| LiveElement { key: key.into(), ends, verdict: None };
        let mut live = LiveSet { flags: INTERVAL, key_length: 4, ..LiveSet::default() };
        live.elements = vec![
            element([255, 255, 255, 255], false),
            element([11, 0, 0, 0], true),
            element([10, 0, 0, 0], false),
            element([0, 0, 0, 0], true),
        ];
        assert!(fits_set(&live, &wanted) && same_elements(&live, &wanted));
        live.elements.remove(1);
        assert!(!same_elements(&live, &wanted));
    }
}
