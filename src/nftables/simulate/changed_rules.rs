//! Finds where two rulesets can give a packet different verdicts.
use super::eval::EvalContext;
use super::hook_path::{At, hooks};
use crate::nftables::names::{Name, TableName};
use crate::nftables::ruleset::{Action, Chain, Match, Rule, Ruleset, VerdictTarget};
use crate::simulate::{ChangedChain, End, IsAffected, Layer, Packet, affected_at_hooks, differing, visit_reachable};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The chains and sets of two rulesets that differ.
///
/// A packet has the same verdict in both, unless it can match a rule that only one of them has, it is in a set of only one of
/// them, or a map selects another chain for it. Origins are not compared.
#[derive(Debug)]
pub struct ChangedRules<'a> {
    before: &'a Ruleset,
    after: &'a Ruleset,
    chains: HashMap<(TableName, &'a Name), ChangedChain<&'a Rule>>,
    sets: HashSet<(TableName, &'a Name)>,
    maps: bool,
}

/// A difference at a hook that can change a packet's verdict.
enum DifferingItem<'a> {
    /// A rule of this ruleset only.
    Rule(&'a Ruleset, &'a Rule),
    /// A rule of both rulesets whose sets differ.
    Sets(&'a Rule),
    /// A map that selects another chain, or another base chain at the hook.
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
                changed.chains.extend(changed_rules(one, other).map(|rules| ((table, name), rules)));
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

    /// Whether every packet has the same verdict in both.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty() && !self.maps
    }

    /// Whether packets between two endpoints can have different verdicts; `None` if none can.
    #[must_use]
    pub fn affected_between(self: &Arc<Self>, from: &End, to: &End, layer: Layer) -> Option<IsAffected<'a>> {
        let unknown = Packet { layer, ..Packet::arp() };
        let changed = self.clone();
        affected_at_hooks(
            hooks(from, to, layer),
            |at| self.differences(at, &unknown),
            move |difference, packet, at| changed.is_affected(difference, packet, at),
        )
    }

    /// The differences in the chains that can be reached at a hook. A rule that is in both rulesets jumps to the same chain, so
    /// it is enough to follow the rules of one of them.
    fn differences(&self, at: &At, unknown: &Packet) -> Vec<DifferingItem<'a>> {
        let [before, after] = [self.before, self.after].map(|ruleset| eval_context(ruleset, unknown, at));
        let mut found = Vec::new();
        if before.base_chains() != after.base_chains() {
            found.push(DifferingItem::Elsewhere);
        }
        visit_reachable(after.base_chains(), |name: &&'a Name, next| {
            let rules = self.chains.get(&(at.table, *name)).into_iter();
            let rules = rules.flat_map(|chain| chain.of(self.before, self.after));
            let rules = rules.filter(|(_, rule)| after.can_match(rule));
            found.extend(rules.map(|(ruleset, rule)| DifferingItem::Rule(ruleset, rule)));
            let chain = after.table().and_then(|table| table.chains.get(*name));
            for rule in chain.map_or(&[][..], |chain| chain.rules()).iter().filter(|rule| after.can_match(rule)) {
                if rule.matches.iter().filter_map(Match::set).any(|set| self.sets.contains(&(at.table, set))) {
                    found.push(DifferingItem::Sets(rule));
                }
                next.extend(match &rule.action {
                    Action::VerdictMap(key, map) => {
                        let [one, other] = [&before, &after].map(|side| side.look_up(*key, map));
                        if one != other {
                            found.push(DifferingItem::Elsewhere);
                        }
                        other.map(VerdictTarget::chain)
                    }
                    action => action.target(),
                });
            }
        });
        found
    }

    fn is_affected(&self, difference: &DifferingItem<'a>, packet: &Packet, at: &At) -> bool {
        match difference {
            DifferingItem::Elsewhere => true,
            DifferingItem::Rule(ruleset, rule) => eval_context(ruleset, packet, at).can_match_packet(rule),
            DifferingItem::Sets(rule) => rule.matches.iter().filter(|one| one.set().is_some()).any(|one| {
                eval_context(self.before, packet, at).matches(one) != eval_context(self.after, packet, at).matches(one)
            }),
        }
    }
}

/// The rules that differ; `None` if both are the same, or neither exists.
fn changed_rules<'a>(before: Option<&'a Arc<Chain>>, after: Option<&'a Arc<Chain>>) -> Option<ChangedChain<&'a Rule>> {
    if let (Some(one), Some(other)) = (before, after)
        && Arc::ptr_eq(one, other)
    {
        return None;
    }
    let [before, after] = [before, after].map(|chain| chain.map_or(&[][..], |chain| chain.rules()));
    let same = |one: &Rule, other: &Rule| one.matches == other.matches && one.action == other.action;
    let (of_before, of_after) = differing(before, after, same)?;
    Some(ChangedChain { before: before[of_before].iter().collect(), after: after[of_after].iter().collect() })
}

fn eval_context<'a, 'b>(ruleset: &'a Ruleset, packet: &'b Packet, at: &'b At) -> EvalContext<'a, 'b> {
    EvalContext { ruleset, packet, broadcasts: &NO_BROADCASTS, at, state: None }
}
