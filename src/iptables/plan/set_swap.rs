//! Sets that change together with the rules that look into them, or with each other.
//!
//! A table is replaced in one step and so is a set, but nothing replaces both, or two sets, in one. An entry that moves
//! from a set into a rule, or into another set, would be in neither for a moment, and a packet might pass that the old and
//! the new configuration refuse. So the new content of such sets is made under other names first, and the table goes over
//! to these together with its own change. Then nothing looks into the sets themselves, and a second update brings the
//! rules back to them without a change of meaning.
use super::diff::{Action, Plan, TablePlan};
use super::live::{Live, TableName};
use crate::iptables::ruleset::{Chain, Match, Rule, Ruleset, SetName, Table};
use crate::model::Family;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is appended to the name of a set for the time between the two steps. No name of ours is too long for it.
const NEXT: &str = "_next";

/// The name under which the new content of a set is made first.
#[must_use]
pub fn next_name(name: &SetName) -> Option<SetName> {
    SetName::new(&format!("{name}{NEXT}"))
}

impl Plan {
    /// The sets that must not change before the rules do, nor after.
    #[must_use]
    pub fn entangled(&self, wanted: &Ruleset, live: &Live) -> BTreeSet<SetName> {
        let mut entangled = BTreeSet::new();
        for family in Family::ALL {
            let Ok(table) = live.table(TableName::Filter, family) else { continue };
            let plan = self.table(TableName::Filter, family);
            let rewritten = |name| plan.chains.get(name).is_some_and(|planned| planned.action != Action::Ignore);
            let chains = table.chains.iter().filter(|(name, _)| rewritten(*name));
            let looked_into: BTreeSet<&SetName> = chains.flat_map(|(_, chain)| &chain.refers.sets).collect();
            // sets without a chain: perhaps the tool printed nothing, as it does where there is nothing
            let blind = table.chains.is_empty();
            let changed = self.sets.with(Action::Update).filter(|name| {
                let seen = blind || looked_into.contains(name);
                seen && wanted.sets.get(*name).is_some_and(|set| set.family == family)
            });
            let changed: BTreeSet<SetName> = changed.cloned().collect();
            if changed.len() > 1 || !plan.is_empty() {
                entangled.extend(changed);
            }
        }
        entangled
    }

    /// The sets that only chains look into which stay as they are: what moves from such a set into a rule is not to be in
    /// neither of them. A set that others look into as well is not held up by one chain.
    #[must_use]
    pub fn frozen(&self, wanted: &Ruleset, live: &Live) -> BTreeSet<SetName> {
        let mut frozen = BTreeSet::new();
        for family in Family::ALL {
            let Ok(table) = live.table(TableName::Filter, family) else { continue };
            let plan = self.table(TableName::Filter, family);
            let stays = |name| plan.chains.get(name).is_some_and(|planned| planned.action == Action::Ignore);
            let of_kept =
                table.chains.iter().filter(|(name, _)| stays(*name)).flat_map(|(_, chain)| &chain.refers.sets);
            let of_kept: BTreeSet<&SetName> = of_kept.collect();
            if !of_kept.is_empty() {
                let others = wanted.filter[family].iter().filter(|(name, _)| !stays(*name));
                let of_others: BTreeSet<&SetName> = others.flat_map(|(_, chain)| sets_of(chain)).collect();
                frozen.extend(of_kept.difference(&of_others).map(|name| (*name).clone()));
            }
        }
        frozen
    }

    /// Leaves sets that would change as they are.
    pub fn hold<'a>(&mut self, sets: impl IntoIterator<Item = &'a SetName>) {
        for name in sets {
            if let Some(planned) = self.sets.sets.get_mut(name).filter(|planned| planned.action == Action::Update) {
                planned.action = Action::Ignore;
            }
        }
    }

    /// Leaves the tables of a family as they are.
    pub fn leave(&mut self, family: Family) {
        self.filter[family] = TablePlan::default();
        self.raw[family] = TablePlan::default();
    }
}

impl Ruleset {
    /// The same rules, looking into the sets of these names under other names. The sets themselves are there as well.
    #[must_use]
    pub fn staged(&self, sets: &BTreeSet<SetName>) -> Self {
        let mut staged = self.clone();
        for (name, set) in sets.iter().filter_map(|name| self.sets.get_key_value(name)) {
            staged.sets.extend(next_name(name).map(|next| (next, set.clone())));
        }
        for family in Family::ALL {
            for chain in staged.filter[family].values_mut().filter(|chain| looks_into(chain, sets)) {
                *chain = Arc::new(renamed(chain, sets));
            }
        }
        staged
    }

    /// The sets of a family.
    pub fn sets_of(&self, family: Family) -> impl Iterator<Item = &SetName> {
        self.sets.iter().filter(move |(_, set)| set.family == family).map(|(name, _)| name)
    }

    /// Keeps the live content of the chains that look into these sets.
    pub fn keep_chains_of(&mut self, sets: &BTreeSet<SetName>) {
        let of = |table: &Table| -> Vec<_> {
            table.iter().filter(|(_, chain)| looks_into(chain, sets)).map(|(name, _)| name.clone()).collect()
        };
        for family in Family::ALL {
            self.kept.extend(of(&self.filter[family]));
        }
    }
}

impl Live {
    /// Whether a chain of ours looks into a set.
    #[must_use]
    pub fn looks_into(&self, set: &SetName) -> bool {
        let tables = Family::ALL.into_iter().filter_map(|family| self.filter[family].as_ref().ok());
        tables.flat_map(|table| table.chains.values()).any(|chain| chain.refers.sets.contains(set))
    }
}

fn sets_of(chain: &Chain) -> impl Iterator<Item = &SetName> {
    chain.rules().iter().flat_map(Rule::sets)
}

fn looks_into(chain: &Chain, sets: &BTreeSet<SetName>) -> bool {
    sets_of(chain).any(|name| sets.contains(name))
}

fn renamed(chain: &Chain, sets: &BTreeSet<SetName>) -> Chain {
    let mut rules: Box<[Rule]> = chain.rules().into();
    for one in rules.iter_mut().flat_map(|rule| &mut rule.matches) {
        if let Match::Set { name, .. } = one
            && sets.contains(name)
            && let Some(next) = next_name(name)
        {
            *name = next;
        }
    }
    Chain::new(rules)
}
