//! Updates in which sets and rules must change together, in two steps; see [`coupled_sets`].
use super::{Firewall, Progress};
use crate::iptables::names::next_set;
use crate::iptables::plan::{Live, coupled_sets};
use crate::iptables::ruleset::SetName;
use crate::model::Family;
use std::collections::BTreeSet;

/// Updates to rules that use the new content of these sets under temporary names, then back to the original names. Returns
/// the live state afterwards.
pub(super) fn update(firewall: &mut Firewall, coupled: &BTreeSet<SetName>, progress: &mut Progress<'_>) -> Live {
    let wanted = progress.wanted;
    let staged = coupled_sets::staged(wanted, coupled);
    let mut plan = firewall.plan(&staged, progress.live);
    plan.exclude_sets(coupled);
    let mut first = Progress::new(&staged, progress.live);
    let live = firewall.execute(&plan, &mut first);
    // a set that could not be created under the temporary name must not be changed under its own name either
    let failed = |name: &&SetName| next_set(name).is_none_or(|next| first.failed_sets.contains(&next));
    let failed: BTreeSet<SetName> = coupled.iter().filter(failed).cloned().collect();
    let mut wanted = wanted.clone();
    wanted.keep_chains_of(&failed);
    let mut plan = firewall.plan(&wanted, &live);
    plan.exclude_sets(&failed);
    // only a chain that keeps its live rules, because a new one is refused, has not switched
    let stays = |name: &&SetName| live.uses_set(name) && next_set(name).is_none_or(|next| !live.uses_set(&next));
    plan.exclude_sets(coupled.iter().filter(stays));
    for family in Family::ALL.into_iter().filter(|family| first.has_failed(*family)) {
        plan.exclude_sets(wanted.sets_of(family));
        plan.exclude_family(family);
    }
    let mut second = Progress::new(&wanted, &live);
    let after = if plan.is_empty() { None } else { Some(firewall.execute(&plan, &mut second)) };
    for outcome in [first.outcome, second.outcome] {
        progress.outcome.changed |= outcome.changed;
        let new = outcome.errors.into_iter().filter(|error| !progress.outcome.errors.contains(error));
        let new: Vec<_> = new.collect();
        progress.outcome.errors.extend(new);
    }
    after.unwrap_or(live)
}
