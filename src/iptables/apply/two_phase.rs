//! Updates in which sets and rules must change together, in two steps; see [`Plan::entangled`].
use super::{Firewall, Pass};
use crate::iptables::names::next_set;
use crate::iptables::plan::{Live, Part, Plan, TableName};
use crate::iptables::ruleset::{Ruleset, SetName};
use crate::model::Family;
use std::collections::BTreeSet;

impl Firewall {
    /// The changes, without rules known to be refused. The sets of a family whose rules cannot be read are kept, because an
    /// entry could have to move from them to a rule.
    pub(super) fn plan(&mut self, wanted: &Ruleset, live: &Live) -> Plan {
        self.refused.forget_changed(wanted, live);
        let mut plan = Plan::with_kept(&self.refused.accepted(wanted), live, |part| self.refused.kept(part));
        for family in Family::ALL.into_iter().filter(|family| live.filter[*family].is_err()) {
            plan.hold(wanted.sets_of(family));
        }
        let frozen = plan.frozen(wanted, live);
        plan.hold(&frozen);
        plan
    }

    /// Updates to rules that use the new content of these sets under temporary names, then back to the original names. Returns
    /// the live state afterwards.
    pub(super) fn update_in_two_steps(&mut self, entangled: &BTreeSet<SetName>, pass: &mut Pass<'_>) -> Live {
        let wanted = pass.wanted;
        let staged = wanted.staged(entangled);
        let mut plan = self.plan(&staged, pass.live);
        plan.hold(entangled);
        let mut first = Pass::new(&staged, pass.live);
        let live = self.carry_out(&plan, &mut first);
        // a set that could not be created under the temporary name cannot be changed under its own name either
        let failed = |name: &&SetName| next_set(name).is_none_or(|next| first.failed_sets.contains(&next));
        let failed: BTreeSet<SetName> = entangled.iter().filter(failed).cloned().collect();
        let mut wanted = wanted.clone();
        wanted.keep_chains_of(&failed);
        let mut plan = self.plan(&wanted, &live);
        plan.hold(&failed);
        // only a chain that keeps its live rules, because a new one is refused, has not switched
        let stays = |name: &&SetName| live.uses_set(name) && next_set(name).is_none_or(|next| !live.uses_set(&next));
        plan.hold(entangled.iter().filter(stays));
        for family in Family::ALL.into_iter().filter(|family| first.has_failed(*family)) {
            plan.hold(wanted.sets_of(family));
            plan.leave(family);
        }
        let mut second = Pass::new(&wanted, &live);
        let after = if plan.is_empty() { None } else { Some(self.carry_out(&plan, &mut second)) };
        for outcome in [first.outcome, second.outcome] {
            pass.outcome.changed |= outcome.changed;
            let new = outcome.faults.into_iter().filter(|fault| !pass.outcome.faults.contains(fault));
            let new: Vec<_> = new.collect();
            pass.outcome.faults.extend(new);
        }
        after.unwrap_or(live)
    }
}

impl Pass<'_> {
    /// Whether the rules of a family differ from the plan.
    fn has_failed(&self, family: Family) -> bool {
        let part = Part::Table(TableName::Filter, family);
        self.outcome.faults.iter().any(|fault| fault.part() == Some(part))
    }
}
