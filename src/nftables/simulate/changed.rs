//! Where two rulesets can give a packet different verdicts.
use super::eval::Situation;
use super::hooks::{At, hooks};
use crate::nftables::names::{Name, TableName};
use crate::nftables::ruleset::{Action, Chain, Match, Rule, Ruleset, VerdictTarget};
use crate::simulate::{Concern, End, Layer, Packet, differing};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The chains and sets of two rulesets that differ.
///
/// A packet has the same verdict under both unless it can match a rule that only one of them has, or a set of a rule of both
/// has it in one of them only, or a map leads it to another chain. Origins do not count.
#[derive(Debug)]
pub struct ChangedRules<'a> {
    before: &'a Ruleset,
    after: &'a Ruleset,
    chains: HashMap<(TableName, &'a Name), Changed<'a>>,
    sets: HashSet<(TableName, &'a Name)>,
    maps: bool,
}

/// The rules of a chain that only one of the rulesets has.
#[derive(Clone, Copy, Debug)]
struct Changed<'a> {
    before: &'a [Rule],
    after: &'a [Rule],
}

/// What a packet can meet at a hook.
enum Met<'a> {
    /// A rule of this ruleset only.
    Rule(&'a Ruleset, &'a Rule),
    /// A rule of both that uses sets which differ.
    Sets(&'a Rule),
    /// A map that leads it to another chain, or another chain at the hook.
    Elsewhere,
}

static NO_BROADCASTS: BTreeSet<Ipv4Addr> = BTreeSet::new();

impl<'a> ChangedRules<'a> {
    /// Compares two rulesets.
    #[must_use]
    pub fn new(before: &'a Ruleset, after: &'a Ruleset) -> Self {
        let mut changed = ChangedRules { before, after, chains: HashMap::new(), sets: HashSet::new(), maps: false };
        for table in after.tables.keys().chain(before.tables.keys()).copied().collect::<BTreeSet<_>>() {
            let [one, other] = [before, after].map(|ruleset| ruleset.tables.get(&table));
            let tables = || one.into_iter().chain(other);
            for name in tables().flat_map(|table| table.chains.keys()) {
                let [one, other] = [one, other].map(|table| table.and_then(|table| table.chains.get(name)));
                changed.chains.extend(Changed::of(one, other).map(|rules| ((table, name), rules)));
            }
            for name in tables().flat_map(|table| table.sets.keys()) {
                let [one, other] = [one, other].map(|table| table.and_then(|table| table.sets.get(name)));
                if one.map(|set| &set.kind) != other.map(|set| &set.kind) {
                    changed.sets.insert((table, name));
                }
            }
            changed.maps |= one.map(|table| &table.maps) != other.map(|table| &table.maps);
        }
        changed
    }

    /// Whether every packet has the same verdict under both.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty() && !self.maps
    }

    /// Whether packets between two endpoints can have different verdicts; `None` if none can.
    #[must_use]
    pub fn concern(self: &Arc<Self>, from: &End, to: &End, layer: Layer) -> Option<Concern<'a>> {
        let unknown = Packet { layer, ..Packet::arp() };
        let hooks = hooks(from, to, layer).into_iter();
        let met: Vec<(At, Vec<Met<'a>>)> = hooks
            .map(|at| {
                let met = self.met(&at, &unknown);
                (at, met)
            })
            .filter(|(_, met): &(At, Vec<Met<'a>>)| !met.is_empty())
            .collect();
        let changed = self.clone();
        (!met.is_empty()).then(|| -> Concern<'a> {
            Box::new(move |packet| met.iter().any(|(at, met)| met.iter().any(|met| changed.holds(met, packet, at))))
        })
    }

    /// What differs in the chains that can be reached at a hook. Those that do not differ are the same in both rulesets, and
    /// so are the chains that they lead to.
    fn met(&self, at: &At, unknown: &Packet) -> Vec<Met<'a>> {
        let [before, after] = [self.before, self.after].map(|ruleset| situation(ruleset, unknown, at));
        let mut met = Vec::new();
        let mut waiting = after.base_chains();
        if before.base_chains() != waiting {
            met.push(Met::Elsewhere);
        }
        let mut known: HashSet<&Name> = waiting.iter().copied().collect();
        while let Some(name) = waiting.pop() {
            if let Some(changed) = self.chains.get(&(at.table, name)) {
                let sides = [(self.before, changed.before), (self.after, changed.after)];
                let rules =
                    sides.into_iter().flat_map(|(ruleset, rules)| rules.iter().map(move |rule| (ruleset, rule)));
                let rules = rules.filter(|(_, rule)| after.can_match(rule));
                met.extend(rules.map(|(ruleset, rule)| Met::Rule(ruleset, rule)));
            }
            let chain = after.table().and_then(|table| table.chains.get(name));
            for rule in chain.map_or(&[][..], |chain| chain.rules()).iter().filter(|rule| after.can_match(rule)) {
                if rule.matches.iter().filter_map(Match::set).any(|set| self.sets.contains(&(at.table, set))) {
                    met.push(Met::Sets(rule));
                }
                let next = match &rule.action {
                    Action::VerdictMap(key, map) => {
                        let [one, other] = [&before, &after].map(|side| side.look_up(*key, map));
                        if one != other {
                            met.push(Met::Elsewhere);
                        }
                        other.map(VerdictTarget::chain)
                    }
                    action => action.target(),
                };
                waiting.extend(next.filter(|chain| known.insert(chain)));
            }
        }
        met
    }

    fn holds(&self, met: &Met<'a>, packet: &Packet, at: &At) -> bool {
        match met {
            Met::Elsewhere => true,
            Met::Rule(ruleset, rule) => situation(ruleset, packet, at).can_match_packet(rule),
            Met::Sets(rule) => rule.matches.iter().filter(|one| one.set().is_some()).any(|one| {
                situation(self.before, packet, at).matches(one) != situation(self.after, packet, at).matches(one)
            }),
        }
    }
}

impl<'a> Changed<'a> {
    /// The rules that differ; `None` if both are the same, or neither exists.
    fn of(before: Option<&'a Arc<Chain>>, after: Option<&'a Arc<Chain>>) -> Option<Self> {
        if let (Some(one), Some(other)) = (before, after)
            && Arc::ptr_eq(one, other)
        {
            return None;
        }
        let [before, after] = [before, after].map(|chain| chain.map_or(&[][..], |chain| chain.rules()));
        let same = |one: &Rule, other: &Rule| one.matches == other.matches && one.action == other.action;
        let (of_before, of_after) = differing(before, after, same)?;
        Some(Changed { before: &before[of_before], after: &after[of_after] })
    }
}

fn situation<'a, 'b>(ruleset: &'a Ruleset, packet: &'b Packet, at: &'b At) -> Situation<'a, 'b> {
    Situation { ruleset, packet, broadcasts: &NO_BROADCASTS, at, state: None }
}
