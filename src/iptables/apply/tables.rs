//! The steps that run restore tools: the iptables tables, and ebtables.
use super::bisect::{self, Budget};
use super::bisectable_chain::{BisectableChain, RefusedRule};
use super::quarantine::{CacheTime, Refusals};
use super::restore::Restore;
use super::tool_names::{Commands, Tool};
use super::{Outcome, Progress, Steps, Tools, read, variant_state};
use crate::iptables::plan::{
    Live, LiveBridge, LiveTable, Part, Plan, Script, TableName, TablePlan, bridge_script, table_script,
};
use crate::iptables::ruleset::{ChainName, Chains, Ruleset};
use crate::model::Family;
use crate::paths;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The live rules, the programs that change them, and for the variant in use the file for the last script and the plan.
type PartTarget<'a, L> = (&'a L, &'a Commands, Option<(&'static str, &'a TablePlan)>);

/// One part: the wanted rules, and functions to plan and render it.
struct PartStep<'a, R> {
    restore: Restore<'a>,
    /// The file for the last script, and the plan without refused rules.
    first: Option<(&'static str, &'a TablePlan)>,
    wanted: &'a Chains<R>,
    live: &'a LiveTable,
    plan: &'a dyn Fn(&Chains<R>, &BTreeSet<ChainName>) -> TablePlan,
    script: &'a dyn Fn(&TablePlan, &Chains<R>) -> Script<ChainName>,
}

/// One iptables table.
pub(super) fn update_table(
    steps: &mut Steps<'_>,
    table: TableName,
    family: Family,
    plan: &Plan,
    progress: &mut Progress<'_>,
) {
    let file = match (table, family) {
        (TableName::Filter, Family::V4) => paths::SCRIPT_IP4,
        (TableName::Raw, Family::V4) => paths::SCRIPT_IP4_RAW,
        (TableName::Filter, Family::V6) => paths::SCRIPT_IP6,
        (TableName::Raw, Family::V6) => paths::SCRIPT_IP6_RAW,
    };
    let Ok(commands) = steps.tools.variants.commands(Tool::Iptables(family)).cloned() else { return };
    let Ok(live) = progress.live.table(table, family) else { return };
    apply_table(steps, table, family, (live, &commands, Some((file, plan.table(table, family)))), progress);
}

/// The ebtables chains.
pub(super) fn update_bridge(steps: &mut Steps<'_>, plan: &Plan, progress: &mut Progress<'_>) {
    let Ok(commands) = steps.tools.variants.commands(Tool::Ebtables).cloned() else { return };
    let Ok(live) = &progress.live.bridge else { return };
    apply_bridge(steps, (live, &commands, Some((paths::SCRIPT_EBTABLES, &plan.bridge))), progress);
}

fn apply_table(
    steps: &mut Steps<'_>,
    table: TableName,
    family: Family,
    to: PartTarget<'_, LiveTable>,
    progress: &mut Progress<'_>,
) {
    let (live, commands, first) = to;
    let step = PartStep {
        restore: restore(steps.tools, Part::Table(table, family), commands),
        first,
        wanted: progress.wanted.table(table, family),
        live,
        plan: &|wanted, kept| TablePlan::new(wanted, live, table, kept),
        script: &|plan, wanted| table_script(plan, wanted, table),
    };
    apply(steps, &step, progress);
}

fn apply_bridge(
    steps: &mut Steps<'_>,
    (live, commands, first): PartTarget<'_, LiveBridge>,
    progress: &mut Progress<'_>,
) {
    let step = PartStep {
        restore: restore(steps.tools, Part::Bridge, commands),
        first,
        wanted: &progress.wanted.bridge,
        live: &live.table,
        plan: &|wanted, kept| TablePlan::bridge(wanted, live, kept),
        script: &|plan, wanted| bridge_script(plan, wanted, live.style),
    };
    apply(steps, &step, progress);
}

/// Applies one part without the rules that the tool refuses.
fn apply<R: BisectableChain>(steps: &mut Steps<'_>, step: &PartStep<'_, R>, progress: &mut Progress<'_>) {
    let part = step.restore.part;
    let mut budget = Budget::new();
    loop {
        let accepted = steps.refused.accepted_in(part, step.wanted);
        let plan = match (step.first, &accepted) {
            (Some((_, plan)), Cow::Borrowed(_)) => plan.clone(),
            _ => (step.plan)(&accepted, &(&steps.refused.kept(part) | &progress.wanted.kept)),
        };
        if plan.is_empty() {
            return;
        }
        let script = (step.script)(&plan, &accepted);
        if let Some((file, _)) = step.first {
            steps.tools.save_script(file, &script.text);
        }
        progress.touched.insert(part);
        let Err(failure) = step.restore.run(&script.text) else {
            progress.outcome.changed = true;
            progress.tried.push((part, plan));
            return;
        };
        let mut found = Vec::new();
        // if another program has changed the table since it was read, no rule may be at fault
        if failure.is_refusal() && is_unchanged(steps.tools, &step.restore, step.live) && budget.take() {
            found = bisect::refused(&step.restore, &failure, (&plan, &script, &accepted), &mut budget);
        }
        if found.is_empty() {
            progress.error(part, &failure.error);
            progress.tried.push((part, plan));
            return;
        }
        let found = steps.refused.original_indices(part, found);
        // possibly refused because of a missing set
        let may_miss_set = |(name, at, _): &RefusedRule| {
            let mut sets = step.wanted.get(name).into_iter().flat_map(|chain| chain.sets_at(*at));
            sets.any(|set| progress.live.sets.as_ref().map_or(true, |live| !live.sets.contains_key(set)))
        };
        let uses_missing_set = found.iter().any(may_miss_set);
        let cache_time = if uses_missing_set { CacheTime::UntilSetsAreRead } else { CacheTime::Minutes };
        steps.refused.record(part, step.wanted, step.live, found, cache_time);
    }
}

fn restore<'a>(tools: &'a Tools, part: Part, commands: &'a Commands) -> Restore<'a> {
    Restore {
        commands,
        part,
        limit: tools.limit,
        ebtables_lock: tools.root.path(paths::EBTABLES_LOCK),
        xtables_lock: &tools.xtables_lock,
        prestarted: &tools.prestarted,
    }
}

/// Whether a part is still unchanged.
fn is_unchanged(tools: &Tools, restore: &Restore<'_>, live: &LiveTable) -> bool {
    match restore.part {
        Part::Table(table, _) => read::table(table, restore.commands, tools.limit).is_ok_and(|now| now == *live),
        _ => read::bridge(restore.commands, tools.limit).is_ok_and(|now| now.table == *live),
    }
}

/// Removes our rules from variants that are not in use.
pub(super) fn clear_variants(
    tools: &mut Tools,
    refused: &mut Refusals,
    variants: &[(Tool, Commands)],
    outcome: &mut Outcome,
) {
    let (nothing, empty) = (Ruleset::default(), Live::empty());
    for (tool, commands) in variants {
        let mut steps = Steps { tools, refused };
        let mut progress = Progress::new(&nothing, &empty);
        match tool {
            Tool::Iptables(family) => {
                for table in TableName::ALL {
                    match read::table(table, commands, tools.limit) {
                        Ok(live) => apply_table(&mut steps, table, *family, (&live, commands, None), &mut progress),
                        Err(_) if variant_state::is_absent(*tool, commands.variant) => {}
                        Err(error) => progress.error(Part::Table(table, *family), error),
                    }
                }
            }
            Tool::Ebtables => match read::bridge(commands, tools.limit) {
                Ok(live) => apply_bridge(&mut steps, (&live, commands, None), &mut progress),
                Err(_) if variant_state::is_absent(*tool, commands.variant) => {}
                Err(error) => progress.error(Part::Bridge, error),
            },
        }
        if progress.outcome.errors.is_empty() {
            tools.variants.cleared(*tool, commands.variant);
        }
        outcome.merge(progress.outcome);
    }
}
