//! Where two rulesets can give a packet different verdicts.
use super::eval::{AnyRule, Situation};
use super::walk::{Rules, Tables};
use super::{End, Layer, Packet, path_between};
use crate::iptables::ruleset::{ChainName, Match, Rule, Ruleset, SetName};
use crate::model::Family;
use crate::simulate::{Concern, Hop, differing};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The chains and sets of two rulesets that differ.
///
/// A packet has the same verdict under both unless it can match a rule that only one of them has, or one of its addresses is in
/// only one of two sets with the same name. Origins do not count.
#[derive(Debug)]
pub struct ChangedRules<'a> {
    before: &'a Ruleset,
    after: &'a Ruleset,
    chains: [HashMap<&'a ChainName, Changed<'a>>; 3],
    sets: HashSet<&'a SetName>,
}

/// The rules of a chain that only one of the rulesets has.
#[derive(Clone, Debug, Default)]
struct Changed<'a> {
    before: Vec<AnyRule<'a>>,
    after: Vec<AnyRule<'a>>,
}

/// What a packet can meet at a hook.
enum Met<'a> {
    /// A rule of this ruleset only.
    Rule(&'a Ruleset, AnyRule<'a>),
    /// A rule of both that uses sets which differ.
    Sets(&'a Rule),
}

const ALL: [Tables; 3] = [Tables::Bridge, Tables::Ip(Family::V4), Tables::Ip(Family::V6)];
static NO_BROADCASTS: BTreeSet<Ipv4Addr> = BTreeSet::new();

impl<'a> ChangedRules<'a> {
    /// Compares two rulesets.
    #[must_use]
    pub fn new(before: &'a Ruleset, after: &'a Ruleset) -> Self {
        let chains = ALL.map(|tables| {
            let names = tables.names(after).chain(tables.names(before));
            let rules = |ruleset, name: &ChainName| tables.chain(ruleset, name).map(|(_, rules)| rules);
            names.filter_map(|name| Some((name, Changed::of(rules(before, name), rules(after, name))?))).collect()
        });
        let same = |name: &SetName| match (before.sets.get(name), after.sets.get(name)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.entries().eq(other.entries()),
            (one, other) => one.is_none() && other.is_none(),
        };
        let sets = after.sets.keys().chain(before.sets.keys()).filter(|name| !same(name)).collect();
        ChangedRules { before, after, chains, sets }
    }

    /// Whether every packet has the same verdict under both.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.iter().all(HashMap::is_empty)
    }

    /// Whether packets between two endpoints can have different verdicts; `None` if none can.
    #[must_use]
    pub fn concern(self: &Arc<Self>, from: &End, to: &End, layer: Layer) -> Option<Concern<'a>> {
        let hops = path_between(from, to).into_iter();
        let met: Vec<(Hop, Vec<Met<'a>>)> = hops
            .map(|hop| {
                let met = Tables::at(&hop, layer).into_iter().flat_map(|tables| self.met(tables, &hop)).collect();
                (hop, met)
            })
            .filter(|(_, met): &(Hop, Vec<Met<'a>>)| !met.is_empty())
            .collect();
        let changed = self.clone();
        (!met.is_empty()).then(|| -> Concern<'a> {
            Box::new(move |packet| met.iter().any(|(hop, met)| met.iter().any(|met| changed.holds(met, packet, hop))))
        })
    }

    /// What differs in the chains that can be reached at a hook. Those that do not differ are the same in both rulesets, and
    /// so are the chains that they jump to.
    fn met(&self, tables: Tables, hop: &Hop) -> Vec<Met<'a>> {
        let changed = &self.chains[match tables {
            Tables::Bridge => 0,
            Tables::Ip(Family::V4) => 1,
            Tables::Ip(Family::V6) => 2,
        }];
        let mut met = Vec::new();
        let mut waiting: Vec<ChainName> = Tables::entries(hop).collect();
        let mut known: HashSet<ChainName> = waiting.iter().cloned().collect();
        while let Some(name) = waiting.pop() {
            if let Some(Changed { before, after }) = changed.get(&name) {
                let sides = [(self.before, before), (self.after, after)];
                let rules =
                    sides.into_iter().flat_map(|(ruleset, rules)| rules.iter().map(move |rule| (ruleset, *rule)));
                met.extend(
                    rules.filter(|(_, rule)| rule.can_match(hop)).map(|(ruleset, rule)| Met::Rule(ruleset, rule)),
                );
            }
            let Some((_, rules)) = tables.chain(self.after, &name) else { continue };
            for rule in rules.iter().filter(|rule| rule.can_match(hop)) {
                if let AnyRule::Ip(rule) = rule
                    && rule.sets().any(|set| self.sets.contains(set))
                {
                    met.push(Met::Sets(rule));
                }
                waiting.extend(rule.leads_to().filter(|chain| known.insert(ChainName::clone(chain))).cloned());
            }
        }
        met
    }

    fn holds(&self, met: &Met<'a>, packet: &Packet, hop: &Hop) -> bool {
        let at = |ruleset| Situation { ruleset, packet, broadcasts: &NO_BROADCASTS, hop, state: None, mark: 0 };
        match met {
            Met::Rule(ruleset, rule) => rule.can_match_packet(&at(ruleset)),
            Met::Sets(rule) => rule.matches.iter().any(|one| {
                matches!(one, Match::Set { .. }) && at(self.before).matches(one) != at(self.after).matches(one)
            }),
        }
    }
}

impl<'a> Changed<'a> {
    /// The rules that differ; `None` if both are the same, or neither exists.
    fn of(before: Option<Rules<'a>>, after: Option<Rules<'a>>) -> Option<Self> {
        if let (Some(before), Some(after)) = (before, after)
            && before.is_identical(after)
        {
            return None;
        }
        if before.is_some() != after.is_some() {
            let rules = |rules: Option<Rules<'a>>| rules.map(|rules| rules.iter().collect()).unwrap_or_default();
            return Some(Changed { before: rules(before), after: rules(after) });
        }
        let [before, after] = [before?, after?].map(|rules| rules.iter().collect::<Vec<_>>());
        let (of_before, of_after) = differing(&before, &after, |one, other| one.acts_like(*other))?;
        Some(Changed { before: before[of_before].to_vec(), after: after[of_after].to_vec() })
    }
}
