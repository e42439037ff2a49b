//! Rules of other programs that accept packets before ours are evaluated.
use super::foreign_rules::{BuiltIn, ForeignRule, ForeignRules};
use std::collections::BTreeSet;

/// A rule of another program before ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// A rule accepts: the rule of the built-in chain, and the one that accepts if it is another.
    Accepts { rule: String, by: Option<String>, all: bool },
    /// A rule with a target that is not known.
    Unknown { rule: String },
}

/// Verdicts of rules that end the evaluation of the table and do not drop.
const ACCEPTING: [&str; 3] = ["ACCEPT", "NFQUEUE", "QUEUE"];

/// The rules before the jump to our chain that accept packets which our chain would filter, at most one for each rule of the
/// built-in chain. `irrelevant` excludes rules that match no such packet.
pub fn bypasses(built_in: &BuiltIn, foreign: &ForeignRules, irrelevant: &dyn Fn(&ForeignRule) -> bool) -> Vec<Bypass> {
    let evaluation = Evaluation { foreign, irrelevant, built_in };
    let found = built_in.before.iter().filter_map(|rule| {
        let mut seen = BTreeSet::new();
        let found = evaluation.rule(rule, true, &mut seen)?;
        Some(match found {
            Found::Accepts(by) => Bypass::Accepts {
                rule: rule.text.clone(),
                all: rule.matches().next().is_none() && by.matches().next().is_none(),
                by: (by != rule).then(|| by.text.clone()),
            },
            Found::Unknown(by) => Bypass::Unknown { rule: by.text.clone() },
        })
    });
    found.collect()
}

enum Found<'a> {
    Accepts(&'a ForeignRule),
    Unknown(&'a ForeignRule),
}

struct Evaluation<'a> {
    foreign: &'a ForeignRules,
    built_in: &'a BuiltIn,
    irrelevant: &'a dyn Fn(&ForeignRule) -> bool,
}

impl<'a> Evaluation<'a> {
    /// The rule that accepts packets which this rule matches. `first` in the built-in chain, where RETURN and the end of a chain
    /// after `-g` apply the policy.
    fn rule(&self, rule: &'a ForeignRule, first: bool, seen: &mut BTreeSet<&'a str>) -> Option<Found<'a>> {
        if (self.irrelevant)(rule) {
            return None;
        }
        let target = rule.target.as_str();
        if ACCEPTING.contains(&target) {
            return Some(Found::Accepts(rule));
        }
        if target == "RETURN" {
            return (first && !self.built_in.drops).then_some(Found::Accepts(rule));
        }
        let Some(chain) = self.foreign.chains.get(target) else {
            // an empty chain, or one whose rules only drop; an unknown word in capitals may be the target of an extension
            let unknown = target.bytes().all(|byte| byte.is_ascii_uppercase()) && rule.text.contains(" --");
            return if first && rule.goto && !self.built_in.drops {
                Some(Found::Accepts(rule))
            } else {
                (unknown && self.is_extension(rule)).then_some(Found::Unknown(rule))
            };
        };
        if !seen.insert(target) {
            return None;
        }
        let mut found: Option<Found<'a>> = None;
        for rule in chain {
            match self.rule(rule, false, seen) {
                Some(Found::Accepts(by)) => return Some(Found::Accepts(by)),
                other => found = found.or(other),
            }
        }
        if first && rule.goto && !self.built_in.drops {
            return Some(Found::Accepts(rule));
        }
        found
    }

    /// Whether the target has options, which a chain never has.
    fn is_extension(&self, rule: &ForeignRule) -> bool {
        let words: Vec<&str> = rule.text.split_ascii_whitespace().collect();
        words.iter().position(|word| *word == "-j").is_some_and(|at| words.len() > at + 2)
    }
}

/// Whether an interface pattern of iptables matches a name with this prefix.
pub fn matches_names(pattern: &str, prefix: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(start) => prefix.starts_with(start) || start.starts_with(prefix),
        None => pattern.starts_with(prefix),
    }
}

/// Whether a rule matches packets of established connections only, whose first packet our rules have accepted.
pub fn is_established_only(rule: &ForeignRule) -> bool {
    ["--ctstate", "--state"]
        .into_iter()
        .filter_map(|option| rule.value(option))
        .any(|(states, negated)| !negated && states.split(',').all(|state| matches!(state, "ESTABLISHED" | "RELATED")))
}
