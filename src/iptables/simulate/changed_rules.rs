//! Finds where two rulesets can give a packet different verdicts.
use super::eval::{AnyRule, EvalContext};
use super::walk::{ChainRules, Tables};
use super::{End, Layer, Packet, path_between};
use crate::iptables::ruleset::{ChainName, Match, Rule, Ruleset, SetName};
use crate::model::Family;
use crate::simulate::{ChangedChain, Hop, IsAffected, affected_at_hooks, differing, visit_reachable};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The chains and sets of two rulesets that differ.
///
/// A packet has the same verdict in both, unless it can match a rule that only one of them has, or one of its addresses is in only
/// one of two sets with the same name. Origins are not compared.
#[derive(Debug)]
pub struct ChangedRules<'a> {
    before: &'a Ruleset,
    after: &'a Ruleset,
    chains: [HashMap<&'a ChainName, ChangedChain<AnyRule<'a>>>; 3],
    sets: HashSet<&'a SetName>,
}

/// A difference at a hook that can affect a packet.
enum DifferingItem<'a> {
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
            names.filter_map(|name| Some((name, changed_rules(rules(before, name), rules(after, name))?))).collect()
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
    pub fn affected_between(self: &Arc<Self>, from: &End, to: &End, layer: Layer) -> Option<IsAffected<'a>> {
        let changed = self.clone();
        affected_at_hooks(
            path_between(from, to),
            |hop| Tables::at(hop, layer, false).into_iter().flat_map(|tables| self.differences(tables, hop)).collect(),
            move |difference, packet, hop| changed.is_affected(difference, packet, hop),
        )
    }

    /// The differences in the chains that can be reached at a hook. A rule that is in both rulesets jumps to the same chain, so
    /// it is enough to follow the rules of one of them.
    fn differences(&self, tables: Tables, hop: &Hop) -> Vec<DifferingItem<'a>> {
        let changed = &self.chains[match tables {
            Tables::Bridge => 0,
            Tables::Ip(Family::V4) => 1,
            Tables::Ip(Family::V6) => 2,
        }];
        let mut found = Vec::new();
        visit_reachable(Tables::entries(hop).collect(), |name: &ChainName, next| {
            let rules = changed.get(name).into_iter().flat_map(|chain| chain.of(self.before, self.after));
            let rules = rules.filter(|(_, rule)| rule.can_match(hop));
            found.extend(rules.map(|(ruleset, rule)| DifferingItem::Rule(ruleset, rule)));
            let Some((_, rules)) = tables.chain(self.after, name) else { return };
            for rule in rules.iter().filter(|rule| rule.can_match(hop)) {
                if let AnyRule::Ip(rule) = rule
                    && rule.sets().any(|set| self.sets.contains(set))
                {
                    found.push(DifferingItem::Sets(rule));
                }
                next.extend(rule.target_chain().cloned());
            }
        });
        found
    }

    fn is_affected(&self, difference: &DifferingItem<'a>, packet: &Packet, hop: &Hop) -> bool {
        let at = |ruleset| EvalContext { ruleset, packet, broadcasts: &NO_BROADCASTS, hop, state: None, mark: 0 };
        match difference {
            DifferingItem::Rule(ruleset, rule) => rule.can_match_packet(&at(ruleset)),
            DifferingItem::Sets(rule) => rule.matches.iter().any(|one| {
                matches!(one, Match::Set { .. }) && at(self.before).matches(one) != at(self.after).matches(one)
            }),
        }
    }
}

/// The rules that differ; `None` if both are the same, or neither exists.
fn changed_rules<'a>(
    before: Option<ChainRules<'a>>,
    after: Option<ChainRules<'a>>,
) -> Option<ChangedChain<AnyRule<'a>>> {
    if let (Some(before), Some(after)) = (before, after)
        && before.is_identical(after)
    {
        return None;
    }
    if before.is_some() != after.is_some() {
        let rules = |rules: Option<ChainRules<'a>>| rules.map(|rules| rules.iter().collect()).unwrap_or_default();
        return Some(ChangedChain { before: rules(before), after: rules(after) });
    }
    let [before, after] = [before?, after?].map(|rules| rules.iter().collect::<Vec<_>>());
    let (of_before, of_after) = differing(&before, &after, |one, other| one.is_equivalent(*other))?;
    Some(ChangedChain { before: before[of_before].to_vec(), after: after[of_after].to_vec() })
}
