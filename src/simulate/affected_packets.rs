//! Determines which packets a change of rules can affect, for both backends.
use super::{End, Layer, Packet};
use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;

/// Whether a change of rules can affect a packet between two endpoints.
pub type IsAffected<'a> = Box<dyn Fn(&Packet) -> bool + Send + Sync + 'a>;

/// That test for two endpoints; `None` if no packet between them is affected.
pub type IsAffectedBetween<'a> = dyn Fn(&End, &End, Layer) -> Option<IsAffected<'a>> + Sync + 'a;

/// A test whether a difference at one of these hooks affects a packet; `None` if there are no differences. `differences` returns
/// those that can be reached at a hook, and `is_affected` whether one of them affects a packet there.
pub fn affected_at_hooks<'a, H: Send + Sync + 'a, D: Send + Sync + 'a>(
    hooks: impl IntoIterator<Item = H>,
    differences: impl Fn(&H) -> Vec<D>,
    is_affected: impl Fn(&D, &Packet, &H) -> bool + Send + Sync + 'a,
) -> Option<IsAffected<'a>> {
    let found = hooks.into_iter().map(|hook| (differences(&hook), hook));
    let found: Vec<(Vec<D>, H)> = found.filter(|(differences, _)| !differences.is_empty()).collect();
    (!found.is_empty()).then(|| -> IsAffected<'a> {
        Box::new(move |packet| {
            found.iter().any(|(differences, hook)| differences.iter().any(|one| is_affected(one, packet, hook)))
        })
    })
}

/// Visits all chains that can be reached from these, each once. `visit` adds the chains that a chain jumps to.
pub fn visit_reachable<C: Clone + Eq + Hash>(from: Vec<C>, mut visit: impl FnMut(&C, &mut Vec<C>)) {
    let mut known: HashSet<C> = from.iter().cloned().collect();
    let (mut waiting, mut next) = (from, Vec::new());
    while let Some(chain) = waiting.pop() {
        visit(&chain, &mut next);
        waiting.extend(next.drain(..).filter(|chain| known.insert(chain.clone())));
    }
}

/// The rules of a chain that only one of two rulesets has.
#[derive(Clone, Debug, Default)]
pub struct ChangedChain<R> {
    /// The rules of the ruleset before the change.
    pub before: Vec<R>,
    /// The rules of the ruleset after the change.
    pub after: Vec<R>,
}

impl<R: Copy> ChangedChain<R> {
    /// Each rule, with its ruleset.
    pub fn of<S: Copy>(&self, before: S, after: S) -> impl Iterator<Item = (S, R)> {
        let sides = [(before, &self.before), (after, &self.after)];
        sides.into_iter().flat_map(|(ruleset, rules)| rules.iter().map(move |rule| (ruleset, *rule)))
    }
}

/// The parts of two lists of rules without their common beginning and end; `None` if the lists are the same. A packet that
/// matches no rule of either part has the same result in both lists.
pub fn differing<T>(before: &[T], after: &[T], same: impl Fn(&T, &T) -> bool) -> Option<(Range<usize>, Range<usize>)> {
    let both = || before.iter().zip(after);
    let first = both().take_while(|(one, other)| same(one, other)).count();
    if first == before.len() && first == after.len() {
        return None;
    }
    let ends = before[first..].iter().rev().zip(after[first..].iter().rev());
    let last = ends.take_while(|(one, other)| same(one, other)).count();
    Some((first..before.len() - last, first..after.len() - last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_beginnings_and_ends_do_not_differ() {
        for (before, after, expected) in [
            ("abc", "abc", None),
            ("abc", "axbc", Some((1..1, 1..2))),
            ("abc", "ac", Some((1..2, 1..1))),
            ("abc", "axc", Some((1..2, 1..2))),
            ("aa", "aaa", Some((2..2, 2..3))),
            ("", "a", Some((0..0, 0..1))),
            ("a", "", Some((0..1, 0..0))),
        ] {
            let [one, other] = [before, after].map(str::as_bytes);
            assert_eq!(differing(one, other, |one, other| one == other), expected, "{before} {after}");
        }
    }
}
