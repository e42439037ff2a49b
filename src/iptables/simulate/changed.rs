//! Where two rulesets can give a packet different verdicts.
use super::walk::{Rules, Tables};
use super::{End, Layer, path_between};
use crate::iptables::ruleset::{ChainName, Ruleset, SetName};
use crate::model::Family;
use crate::simulate::Hop;
use std::collections::HashSet;
use std::sync::Arc;

/// The chains and sets of two rulesets that differ.
///
/// A packet that meets none of them has the same verdict under both. Origins do not count.
#[derive(Debug)]
pub struct ChangedRules<'a> {
    after: &'a Ruleset,
    chains: [HashSet<&'a ChainName>; 3],
    sets: HashSet<&'a SetName>,
}

const ALL: [Tables; 3] = [Tables::Bridge, Tables::Ip(Family::V4), Tables::Ip(Family::V6)];

impl<'a> ChangedRules<'a> {
    /// Compares two rulesets.
    #[must_use]
    pub fn new(before: &'a Ruleset, after: &'a Ruleset) -> Self {
        let chains = ALL.map(|tables| {
            let names = tables.names(after).chain(tables.names(before));
            let rules = |ruleset, name: &ChainName| tables.chain(ruleset, name).map(|(_, rules)| rules);
            names.filter(|name| !is_same(rules(before, name), rules(after, name))).collect()
        });
        let same = |name: &SetName| match (before.sets.get(name), after.sets.get(name)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.entries().eq(other.entries()),
            (one, other) => one.is_none() && other.is_none(),
        };
        let sets = after.sets.keys().chain(before.sets.keys()).filter(|name| !same(name)).collect();
        ChangedRules { after, chains, sets }
    }

    /// Whether every packet has the same verdict under both.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.iter().all(HashSet::is_empty)
    }

    /// Whether a packet on its path between two endpoints can meet a difference, whatever its addresses and ports are.
    #[must_use]
    pub fn concerns(&self, from: &End, to: &End, layer: Layer) -> bool {
        !self.is_empty()
            && path_between(from, to)
                .iter()
                .any(|hop| Tables::at(hop, layer).into_iter().any(|tables| self.is_met(tables, hop)))
    }

    /// Whether the chains that can be reached at a hook differ, or use a set that does. Those that do not are the same in
    /// both rulesets, and so are the chains that they jump to.
    fn is_met(&self, tables: Tables, hop: &Hop) -> bool {
        let changed = &self.chains[match tables {
            Tables::Bridge => 0,
            Tables::Ip(Family::V4) => 1,
            Tables::Ip(Family::V6) => 2,
        }];
        let mut waiting: Vec<ChainName> = Tables::entries(hop).collect();
        let mut known: HashSet<ChainName> = waiting.iter().cloned().collect();
        while let Some(name) = waiting.pop() {
            if changed.contains(&name) {
                return true;
            }
            let Some((_, rules)) = tables.chain(self.after, &name) else { continue };
            for rule in rules.iter().filter(|rule| rule.can_match(hop)) {
                if rule.sets().any(|set| self.sets.contains(set)) {
                    return true;
                }
                waiting.extend(rule.leads_to().filter(|chain| known.insert(ChainName::clone(chain))).cloned());
            }
        }
        false
    }
}

fn is_same(one: Option<Rules<'_>>, other: Option<Rules<'_>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.is_identical(other)
                || (one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| one.acts_like(other)))
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}
