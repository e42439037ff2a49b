//! The formats of `ipset save` and `ipset -t list`.
use super::super::live::LiveSets;
use crate::iptables::names::{is_own_set, is_swap_set};
use crate::iptables::ruleset::{SetName, signature_of};
use crate::model::Family;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a line in the output of `ipset save` is about a set of ours.
#[must_use]
pub fn is_own_line(line: &str) -> bool {
    line.split_ascii_whitespace().nth(1).is_some_and(is_own_set)
}

/// Parses our sets in the output of `ipset save`.
#[must_use]
pub fn read_sets(text: &str) -> LiveSets {
    let mut lines: BTreeMap<&str, Vec<Cow<'_, str>>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(command), Some(name)) = (words.next(), words.next()) else { continue };
        if is_own_set(name) && matches!(command, "create" | "add") {
            let line = if command == "create" { create_line(line) } else { line.trim_end().into() };
            lines.entry(name).or_default().push(line);
        }
    }
    let mut live = LiveSets::default();
    for (name, mut lines) in lines {
        let Some(name) = SetName::new(name) else { continue };
        if is_swap_set(&name) {
            live.stale.insert(name);
        } else {
            live.kinds.insert(name.clone(), lines.first().and_then(|line| kind(line)));
            lines.sort_unstable();
            live.sets.insert(name, signature_of(lines));
        }
    }
    live
}

/// A `create` line without `initval`, and with the original hash size, which equals `maxelem`: the kernel doubles it when a
/// hash bucket overflows.
fn create_line(line: &str) -> Cow<'_, str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let value = |key: &str| words.iter().position(|word| *word == key).and_then(|at| words.get(at + 1).copied());
    let grown = match (number(value("hashsize")), number(value("maxelem"))) {
        (Some(hash), Some(max)) if hash > max => value("maxelem"),
        _ => None,
    };
    let mut kept = Vec::with_capacity(words.len());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (*word, grown) {
            ("initval", _) => drop(rest.next()),
            ("hashsize", Some(size)) => {
                kept.extend([*word, size]);
                rest.next();
            }
            _ => kept.push(word),
        }
    }
    kept.join(" ").into()
}

/// The family in a `create` line of the type `hash:net`.
fn kind(line: &str) -> Option<Family> {
    let mut words = line.split_ascii_whitespace().skip(2);
    match (words.next()?, words.next()?, words.next()?) {
        ("hash:net", "family", "inet") => Some(Family::V4),
        ("hash:net", "family", "inet6") => Some(Family::V6),
        _ => None,
    }
}

fn number(text: Option<&str>) -> Option<u32> {
    text?.parse().ok()
}

/// The sets that rules refer to, parsed from the output of `ipset -t list`.
#[must_use]
pub fn sets_in_use(text: &str) -> BTreeSet<SetName> {
    let mut name = None;
    let mut used = BTreeSet::new();
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("Name: ") {
            name = SetName::new(text.trim_end());
        } else if line.strip_prefix("References: ").is_some_and(|count| count.trim() != "0") {
            used.extend(name.take());
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::ruleset::{Family, Origin, Set};
    use proptest::prelude::*;

    #[test]
    fn a_set_that_grew_in_the_kernel_is_unchanged() {
        let mut set = Set::new(Family::V4, 2, Origin::Generated("test".into()));
        set.add("10.0.0.0/8".parse().unwrap(), false);
        set.add("10.1.0.0/16".parse().unwrap(), true);
        let name = SetName::new("PVEFW-0-a-v4").unwrap();
        for size in ["64", "128", "1024"] {
            let text = format!(
                "create PVEFW-0-a-v4 hash:net family inet hashsize {size} maxelem 64 bucketsize 12 initval 0x55e1c2a5\n\
                 add PVEFW-0-a-v4 10.1.0.0/16 nomatch \n\
                 add PVEFW-0-a-v4 10.0.0.0/8\n\
                 create other hash:net family inet hashsize 64 maxelem 64 bucketsize 12 initval 0x1\n\
                 create PVEFW-0-b-v4_swap hash:net family inet hashsize 64 maxelem 64 bucketsize 12 initval 0x1\n"
            );
            let live = read_sets(&text);
            assert_eq!(live.sets.iter().collect::<Vec<_>>(), [(&name, &set.signature(&name))], "hash size {size}");
            assert_eq!(live.stale.iter().map(SetName::as_str).collect::<Vec<_>>(), ["PVEFW-0-b-v4_swap"]);
        }
    }

    #[test]
    fn a_set_with_another_capacity_is_created_again() {
        let sign = |max: u32| {
            let text = format!("create PVEFW-x hash:net family inet hashsize 64 maxelem {max} bucketsize 12");
            read_sets(&text).sets["PVEFW-x"]
        };
        assert_ne!(sign(64), sign(128));
        assert_eq!(sign(64), sign(64));
    }

    #[test]
    fn the_type_and_the_family_of_sets_are_read() {
        for (text, expected) in [
            ("hash:net family inet hashsize 64 maxelem 64", Some(Family::V4)),
            ("hash:net family inet6 hashsize 64 maxelem 64", Some(Family::V6)),
            ("hash:ip family inet hashsize 64 maxelem 64", None),
            ("list:set size 8", None),
            ("bitmap:ip range 10.0.0.0/24", None),
        ] {
            let live = read_sets(&format!("create PVEFW-x {text}\nadd PVEFW-x 10.0.0.1\n"));
            assert_eq!(live.kinds["PVEFW-x"], expected, "{text}");
        }
    }

    #[test]
    fn sets_in_use_are_listed() {
        let text =
            "Name: PVEFW-a\nType: hash:net\nReferences: 0\n\nName: PVEFW-b\nReferences: 2\nNumber of entries: 0\n";
        assert_eq!(sets_in_use(text).iter().map(SetName::as_str).collect::<Vec<_>>(), ["PVEFW-b"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = read_sets(&format!("create PVEFW-x {text}\nadd PVEFW-x {text}"));
            let _ = sets_in_use(&format!("Name: {text}"));
        }
    }
}
