//! Sets that change together with the rules that use them, or with each other.
//!
//! A table is replaced in one transaction, and a set with one swap, but a table and a set, or two sets, cannot be replaced
//! together. If an entry moved from a set to a rule or to another set, it would be in neither for a moment, and a packet
//! could pass that the old and the new configuration refuse. So the new content of such sets is first created under other
//! names, and the table switches to these together with its own change. Then no rule uses the original sets, and a second
//! update switches the rules back to them without changing their meaning.
use super::diff::Plan;
use super::live::Live;
use crate::iptables::names::next_set;
use crate::iptables::ruleset::{Chain, Match, Rule, Ruleset, SetName, TableName};
use crate::listing::PlannedAction;
use crate::model::Family;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The sets that must change together with the rules.
#[must_use]
pub fn with_rules(plan: &Plan, wanted: &Ruleset, live: &Live) -> BTreeSet<SetName> {
    let mut coupled = BTreeSet::new();
    if plan.sets.with(PlannedAction::Update).next().is_none() {
        return coupled;
    }
    for family in Family::ALL {
        let Ok(table) = live.table(TableName::Filter, family) else { continue };
        let table_plan = plan.table(TableName::Filter, family);
        let rewritten =
            |name| table_plan.chains.get(name).is_some_and(|planned| planned.action != PlannedAction::Ignore);
        let chains = table.chains.iter().filter(|(name, _)| rewritten(*name));
        let used: BTreeSet<&SetName> = chains.flat_map(|(_, chain)| &chain.references.sets).collect();
        // sets without a chain: the tool may have failed and printed nothing, as for an empty table
        let references_unknown = table.chains.is_empty();
        let changed = plan.sets.with(PlannedAction::Update).filter(|name| {
            let in_use = references_unknown || used.contains(name);
            in_use && wanted.sets.get(*name).is_some_and(|set| set.family == family)
        });
        let changed: BTreeSet<SetName> = changed.cloned().collect();
        // a set that rules use cannot be replaced by one of another type
        let retyped = changed.iter().any(|name| plan.sets.retyped.contains(name));
        if retyped || changed.len() > 1 || !table_plan.is_empty() {
            coupled.extend(changed);
        }
    }
    coupled
}

/// The sets used only by kept chains; they are kept too, because an entry that moves from such a set to a rule would
/// otherwise be in neither. A set that is used by other chains too is not kept.
#[must_use]
pub fn used_only_by_kept_chains(plan: &Plan, wanted: &Ruleset, live: &Live) -> BTreeSet<SetName> {
    let mut sets = BTreeSet::new();
    for family in Family::ALL {
        let Ok(table) = live.table(TableName::Filter, family) else { continue };
        let table_plan = plan.table(TableName::Filter, family);
        let stays = |name| table_plan.chains.get(name).is_some_and(|planned| planned.action == PlannedAction::Ignore);
        let kept = table_plan.with(PlannedAction::Ignore).filter_map(|name| table.chains.get(name));
        let of_kept: BTreeSet<&SetName> = kept.flat_map(|chain| &chain.references.sets).collect();
        if !of_kept.is_empty() {
            let others = wanted.filter[family].iter().filter(|(name, _)| !stays(*name));
            let of_others: BTreeSet<&SetName> = others.flat_map(|(_, chain)| chain.sets()).collect();
            sets.extend(of_kept.difference(&of_others).map(|name| (*name).clone()));
        }
    }
    sets
}

/// The same rules, using these sets under their temporary names. The original sets are included as well.
#[must_use]
pub fn staged(ruleset: &Ruleset, sets: &BTreeSet<SetName>) -> Ruleset {
    let mut staged = ruleset.clone();
    for (name, set) in sets.iter().filter_map(|name| ruleset.sets.get_key_value(name)) {
        staged.sets.extend(next_set(name).map(|next| (next, set.clone())));
    }
    for family in Family::ALL {
        let using = ruleset.filter[family].iter().filter(|(_, chain)| chain.uses_one_of(sets));
        let renamed = using.map(|(name, chain)| (name.clone(), Arc::new(renamed(chain, sets))));
        staged.filter[family].extend(renamed);
    }
    staged
}

fn renamed(chain: &Chain, sets: &BTreeSet<SetName>) -> Chain {
    let mut rules: Box<[Rule]> = chain.rules().into();
    for one in rules.iter_mut().flat_map(|rule| rule.matches.to_mut()) {
        if let Match::Set { name, .. } = one
            && sets.contains(name)
            && let Some(next) = next_set(name)
        {
            *name = next;
        }
    }
    Chain::new(rules)
}
