//! What a change of rules can matter to, shared by both backends.
use super::{End, Layer, Packet};
use std::ops::Range;

/// Whether a change of rules can matter to a packet between two endpoints.
pub type Concern<'a> = Box<dyn Fn(&Packet) -> bool + Send + Sync + 'a>;

/// The same by endpoints; `None` if it matters to no packet between them.
pub type Concerns<'a> = dyn Fn(&End, &End, Layer) -> Option<Concern<'a>> + Sync + 'a;

/// The parts of two lists of rules without the rules that both begin and end with; `None` if the lists are the same. A packet
/// that matches no rule of either part meets the same rules in both lists.
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
    fn what_both_lists_begin_and_end_with_does_not_differ() {
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
