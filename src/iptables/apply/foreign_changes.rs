//! Describes the changes of other programs to our chains and sets, in one line for each part.
use crate::iptables::plan::{Live, Part, Plan, PlannedAction, TableName, TablePlan};
use crate::model::Family;

/// Maximum number of chains or sets that a line names.
const MAX_NAMED: usize = 10;

/// The lines for a plan that would be empty without changes by other programs; `live` are the changed rules.
pub(super) fn undone(plan: &Plan, live: &Live) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |part: Part, changes: Vec<String>| {
        if !changes.is_empty() {
            let more = changes.len().saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            lines.push(format!("{part}: {}{more}", changes[..changes.len().min(MAX_NAMED)].join(", ")));
        }
    };
    for family in Family::ALL {
        for table in TableName::ALL {
            let rules = |name: &str| {
                let live = live.table(table, family).as_ref().ok();
                live.and_then(|live| live.chains.get(name)).map(|chain| chain.rules)
            };
            add(Part::Table(table, family), of_table(plan.table(table, family), rules));
        }
    }
    let rules = |name: &str| live.bridge.as_ref().ok()?.table.chains.get(name).map(|chain| chain.rules);
    add(Part::Bridge, of_table(&plan.bridge, rules));
    let sets = plan.sets.sets.iter().filter_map(|(name, planned)| {
        let what = match planned.action {
            PlannedAction::Create => "was destroyed",
            PlannedAction::Update if plan.sets.retyped.contains(name) => "was replaced by one of another type",
            PlannedAction::Update => "was changed",
            PlannedAction::Delete => "was created",
            PlannedAction::Exists | PlannedAction::Ignore => return None,
        };
        Some(format!("the set {name} {what}"))
    });
    add(Part::Sets, sets.collect());
    lines
}

fn of_table(plan: &TablePlan, rules: impl Fn(&str) -> Option<usize>) -> Vec<String> {
    let chains = plan.chains.iter().filter_map(|(name, planned)| {
        let what = match planned.action {
            PlannedAction::Create => "was deleted",
            PlannedAction::Update if rules(name.as_str()) == Some(0) => "was flushed",
            PlannedAction::Update => "was changed",
            PlannedAction::Delete => "was created",
            PlannedAction::Exists | PlannedAction::Ignore => return None,
        };
        Some(format!("the chain {name} {what}"))
    });
    let missing =
        plan.missing_hooks.iter().map(|hook| format!("the jump from {} to {} was deleted", hook.chain, hook.to));
    let surplus =
        plan.surplus_hooks.iter().map(|(hook, _)| format!("a jump from {} to {} was added", hook.chain, hook.to));
    missing.chain(surplus).chain(chains).collect()
}
