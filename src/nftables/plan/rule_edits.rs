//! Changes of single rules in a chain, used if the kernel keeps state, such as that of a rate limit, for an unchanged rule.
use crate::nftables::ruleset::Rule;
use std::ops::Range;

/// A change of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The live rule with this handle is deleted.
    Delete(u64),
    /// The wanted rule with this index is inserted.
    Insert(usize, InsertPosition),
}

/// Where a rule is inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertPosition {
    /// Before all rules.
    First,
    /// Before the live rule with this handle. nft reads all live rules to find it.
    Before(u64),
    /// After all rules.
    Last,
}

/// A sequence of unchanged rules: its live and its wanted position.
type Stays = (Range<usize>, Range<usize>);

/// The changes of single rules, if an unchanged rule has state; otherwise `None`. The last rule has the chain's signature and
/// always changes.
///
/// Unless `between`, no rule is inserted between two others: only one sequence of rules is kept, the one with the most state.
pub(super) fn edits(live: &[Rule], wanted: &[Rule], handles: &[u64], between: bool) -> Option<Vec<Edit>> {
    let texts = |rules: &[Rule], end: &str| {
        let mut texts: Vec<String> = rules.iter().map(Rule::text).collect();
        if let Some(last) = texts.last_mut() {
            *last = end.to_string();
        }
        texts
    };
    let (before, after) = (texts(live, "live"), texts(wanted, "wanted"));
    let mut stays: Vec<Stays> = Vec::new();
    for operation in similar::capture_diff_slices(similar::Algorithm::Myers, &before, &after) {
        let (tag, old, new) = operation.as_tag_tuple();
        if tag == similar::DiffTag::Equal {
            stays.push((old, new));
        }
    }
    let states = |kept: &[Stays]| {
        let rules = kept.iter().flat_map(|(old, _)| &live[old.clone()]);
        rules.filter(|rule| rule.action.has_state()).count()
    };
    let kept = if between { &stays[..] } else { blocks(&stays).max_by_key(|block| states(block)).unwrap_or(&[]) };
    (states(kept) > 0).then(|| around(kept, handles, wanted.len()))
}

/// The unchanged sequences, grouped so that only deleted rules are between those of one slice.
fn blocks(stays: &[Stays]) -> impl Iterator<Item = &[Stays]> {
    stays.chunk_by(|(_, one), (_, next)| one.end == next.start)
}

/// The changes that leave the kept rules in place.
fn around(kept: &[Stays], handles: &[u64], wanted: usize) -> Vec<Edit> {
    let stays = |at: usize| kept.iter().any(|(old, _)| old.contains(&at));
    let mut edits: Vec<Edit> =
        (0..handles.len()).filter(|at| !stays(*at)).map(|at| Edit::Delete(handles[at])).collect();
    let mut next = 0;
    for (number, (old, new)) in kept.iter().enumerate() {
        match number {
            // each rule is inserted before the one that was inserted first
            0 => edits.extend((next..new.start).rev().map(|at| Edit::Insert(at, InsertPosition::First))),
            _ => edits.extend((next..new.start).map(|at| Edit::Insert(at, InsertPosition::Before(handles[old.start])))),
        }
        next = new.end;
    }
    edits.extend((next..wanted).map(|at| Edit::Insert(at, InsertPosition::Last)));
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, Rate, TimeUnit};
    use crate::nftables::names::Name;
    use crate::nftables::ruleset::{Action, Limit, LogPrefix, Match};

    /// Rules by their protocol; those above 100 log with a limit.
    fn rules(protocols: &[u8]) -> Vec<Rule> {
        let limit = || Limit { rate: Rate { packets: 1, per: TimeUnit::Second }, burst: 5 };
        let prefix = || LogPrefix { vmid: 0, level: 6, chain: Name::new("c").unwrap(), message: "DROP: " };
        let log = || Action::Log(Box::new((prefix(), Some(limit()))));
        let action = |protocol| if protocol > 100 { log() } else { Action::Drop };
        let rule = |protocol: &u8| Rule {
            matches: [Match::Protocol(*protocol)].into(),
            action: action(*protocol),
            origin: Origin::Generated("test".into()),
        };
        protocols.iter().map(rule).collect()
    }

    /// The rules after the edits, with the handles of those that stay: live rules have their index plus 1000.
    fn edited(live: &[u8], wanted: &[u8], between: bool) -> Option<Vec<(u8, bool)>> {
        let handles: Vec<u64> = (1000..).take(live.len()).collect();
        let edits = edits(&rules(live), &rules(wanted), &handles, between)?;
        let mut now: Vec<(Option<u64>, u8)> =
            handles.iter().map(|handle| Some(*handle)).zip(live.iter().copied()).collect();
        for edit in edits {
            match edit {
                Edit::Delete(handle) => now.retain(|(one, _)| *one != Some(handle)),
                Edit::Insert(at, place) => {
                    let at_end = now.len();
                    let to = match place {
                        InsertPosition::First => 0,
                        InsertPosition::Before(handle) => now.iter().position(|(one, _)| *one == Some(handle)).unwrap(),
                        InsertPosition::Last => at_end,
                    };
                    now.insert(to, (None, wanted[at]));
                }
            }
        }
        assert_eq!(now.iter().map(|(_, rule)| *rule).collect::<Vec<_>>(), wanted);
        Some(now.into_iter().map(|(handle, rule)| (rule, handle.is_some())).collect())
    }

    #[test]
    fn only_adjacent_rules_are_kept_if_inserting_between_them_is_slow() {
        let stay = |live: &[u8], wanted: &[u8], between| -> Option<Vec<u8>> {
            let kept = edited(live, wanted, between)?.into_iter().filter(|(_, stays)| *stays);
            Some(kept.map(|(rule, _)| rule).collect())
        };
        let live = [101, 2, 102, 103, 4, 9];
        for (wanted, all, beside) in [
            // a rule in front, at the end, and in the middle
            (&[7, 101, 2, 102, 103, 4, 9][..], &[101, 2, 102, 103, 4][..], &[101, 2, 102, 103, 4][..]),
            (&[101, 2, 102, 103, 4, 7, 9], &[101, 2, 102, 103, 4], &[101, 2, 102, 103, 4]),
            (&[101, 2, 7, 102, 103, 4, 9], &[101, 2, 102, 103, 4], &[102, 103, 4]),
            (&[101, 2, 102, 7, 103, 4, 9], &[101, 2, 102, 103, 4], &[101, 2, 102]),
            // deleted ones
            (&[101, 103, 9], &[101, 103], &[101, 103]),
            (&[7, 8, 101, 103, 6, 9], &[101, 103], &[101, 103]),
        ] {
            assert_eq!(stay(&live, wanted, true).as_deref(), Some(all), "{wanted:?}");
            assert_eq!(stay(&live, wanted, false).as_deref(), Some(beside), "{wanted:?}");
        }
        assert_eq!(stay(&live, &[2, 4, 9], true), None, "no state is left to be kept");
    }
}
