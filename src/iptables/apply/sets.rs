//! The steps for IP sets: created and changed before the tables use them, removed when no table uses them.
use super::bisectable_chain::{BisectableChain, RefusedRule};
use super::quarantine::{CacheTime, Refusals};
use super::restore::reported_line;
use super::{Progress, Steps, Tools};
use crate::iptables::names::swap_set;
use crate::iptables::plan::{
    Part, PlannedAction, Script, SetPlan, TableName, removed_sets_script, sets_in_use, sets_script,
};
use crate::iptables::ruleset::{Chain, ChainName, SetName};
use crate::model::Family;
use crate::paths::{SCRIPT_IPSET, SCRIPT_IPSET_REMOVED};
use crate::system::tools::{ToolError, run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Maximum number of failing sets in one update; the rest is left for the next.
const FAILURES: usize = 50;

/// Creates and changes sets. Rules that use a set that could not be created are left for the next update.
pub(super) fn update(steps: &mut Steps<'_>, plan: &SetPlan, progress: &mut Progress<'_>) {
    let wanted = progress.wanted;
    if sets_script(plan, wanted, |_| false).text.is_empty() {
        return;
    }
    let failed = restore_sets(steps.tools, SCRIPT_IPSET, |skip| sets_script(plan, wanted, skip), progress);
    for (name, (at, reason)) in &failed {
        if *at > 0 {
            // an incomplete set must not be used; if it remains, the next update destroys it
            let is_new = plan.retyped.contains(name) || plan.with(PlannedAction::Create).any(|new| new == name);
            let half = if is_new { Some(name.clone()) } else { swap_set(name) };
            if let Some(half) = half {
                let _ = run("ipset", &["destroy", half.as_str()], "", steps.tools.limit);
            }
        }
        progress.error(Part::Sets, format_args!("set '{name}': {reason}"));
    }
    // a set of another type counts as absent: its entries may not be those of the configuration
    let absent = plan.with(PlannedAction::Create).chain(&plan.retyped);
    let absent: BTreeSet<&SetName> = absent.filter(|name| failed.contains_key(*name)).collect();
    leave_out_rules_of(steps.refused, &absent, progress);
    progress.failed_sets.extend(failed.into_keys());
}

/// Removes the sets that are no longer wanted. A set that is still used by a rule is kept.
pub(super) fn remove(tools: &Tools, plan: &SetPlan, progress: &mut Progress<'_>) {
    if plan.with(PlannedAction::Delete).next().is_none() {
        return;
    }
    let used = match run("ipset", &["-t", "list"], "", tools.limit) {
        Ok(text) => sets_in_use(&text),
        Err(error) => return progress.error(Part::Sets, error),
    };
    for name in plan.with(PlannedAction::Delete).filter(|name| used.contains(*name)) {
        progress.error(Part::Sets, format_args!("set '{name}' is kept: a rule still uses it"));
    }
    let script = |skip: &dyn Fn(&SetName) -> bool| removed_sets_script(plan, |name| used.contains(name) || skip(name));
    let failed = restore_sets(tools, SCRIPT_IPSET_REMOVED, script, progress);
    for (name, (_, reason)) in failed {
        progress.error(Part::Sets, format_args!("set '{name}': {reason}"));
    }
}

/// The tools refuse rules that use a missing set: these are left out in this update.
fn leave_out_rules_of(refused: &mut Refusals, absent: &BTreeSet<&SetName>, progress: &Progress<'_>) {
    for (table, family) in TableName::ALL.into_iter().flat_map(|table| Family::ALL.map(|family| (table, family))) {
        let (Ok(live), false) = (progress.live.table(table, family), absent.is_empty()) else { continue };
        let wanted = progress.wanted.table(table, family);
        let in_chain = |(name, chain): (&ChainName, &Arc<Chain>)| -> Vec<RefusedRule> {
            let absent_in = |at| chain.sets_at(at).find(|set| absent.contains(set)).map(|set| (at, set));
            let found = (0..chain.count()).filter_map(absent_in);
            found.map(|(at, set)| (name.clone(), at, format!("set '{set}' could not be created"))).collect()
        };
        let found = wanted.iter().flat_map(in_chain);
        refused.record(Part::Table(table, family), wanted, live, found, CacheTime::ThisUpdate);
    }
}

/// Runs a script with one block per set. `ipset restore` stops at the first error: the failed block is skipped, and the
/// rest is run. Returns the failed sets, with the index of the line in the block and the reason.
fn restore_sets(
    tools: &Tools,
    file: &str,
    script: impl Fn(&dyn Fn(&SetName) -> bool) -> Script<SetName>,
    progress: &mut Progress<'_>,
) -> BTreeMap<SetName, (usize, String)> {
    let mut failed: BTreeMap<SetName, (usize, String)> = BTreeMap::new();
    let mut done: BTreeSet<SetName> = BTreeSet::new();
    loop {
        let part = script(&|name: &SetName| failed.contains_key(name) || done.contains(name));
        if part.text.is_empty() {
            return failed;
        }
        progress.touched.insert(Part::Sets);
        if failed.is_empty() {
            tools.save_script(file, &part.text);
        }
        let Err(error) = run("ipset", &["restore"], &part.text, tools.limit) else {
            progress.outcome.changed = true;
            return failed;
        };
        match reported_line(error.stderr()).and_then(|line| part.owner(line)) {
            Some((name, at)) if failed.len() < FAILURES => {
                done.extend(part.owners().take_while(|done| *done != name).cloned());
                progress.outcome.changed |= !done.is_empty();
                failed.insert(name.clone(), (at, reason(&error)));
            }
            None if error.is_exit_status() => {
                let names = part.owners().map(|name| (name, script(&|other: &SetName| other != name).text));
                failed.extend(names.filter_map(|(name, script)| Some((name.clone(), restore_block(tools, &script)?))));
                progress.outcome.changed = true;
                return failed;
            }
            _ => {
                progress.error(Part::Sets, &error);
                failed.extend(part.owners().map(|name| (name.clone(), (0, "not updated".into()))));
                return failed;
            }
        }
    }
}

/// Runs the block of one set, some lines of which may already have been run. Returns the same as [`restore_sets`].
fn restore_block(tools: &Tools, script: &str) -> Option<(usize, String)> {
    let error = run("ipset", &["restore", "-exist"], script, tools.limit).err()?;
    let gone = script.starts_with("destroy") && error.stderr().contains("does not exist");
    (!gone).then(|| (reported_line(error.stderr()).unwrap_or(usize::MAX), reason(&error)))
}

fn reason(error: &ToolError) -> String {
    let stderr = error.stderr().trim();
    let text = stderr.split_once("Error in line ").map_or(stderr, |(_, rest)| rest);
    match text.split_once(": ") {
        Some((_, text)) => text.into(),
        None if text.is_empty() => error.to_string(),
        None => text.into(),
    }
}
