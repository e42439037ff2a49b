//! Describes the changes of other programs to our tables, in one line for each table.
use crate::nftables::plan::{ChainChange, Plan, SetChange};

/// Maximum number of chains and sets that a line names.
const MAX_NAMED: usize = 10;

/// The lines for a plan that would be empty without changes by other programs.
pub(super) fn undone(plan: &Plan) -> Vec<String> {
    let line = |(table, changes): (&_, &crate::nftables::plan::TablePlan)| {
        let chains = changes.chains.iter().map(|(name, change)| {
            let what = match change {
                ChainChange::Create => "deleted",
                ChainChange::Rewrite | ChainChange::Edit(_) => "changed",
                ChainChange::Delete => "created",
            };
            format!("the chain {name} was {what}")
        });
        let sets = changes.sets.iter().map(|(name, change)| {
            let what = match change {
                SetChange::Create => "deleted",
                SetChange::Refill => "changed",
                SetChange::Recreate => "replaced by one of another type",
                SetChange::Delete => "created",
            };
            format!("the set {name} was {what}")
        });
        let maps = changes.elements.keys().map(|name| format!("the map {name} was changed"));
        let all: Vec<String> = chains.chain(sets).chain(maps).collect();
        let more = all.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let named = all[..all.len().min(MAX_NAMED)].join(", ");
        (!named.is_empty()).then(|| format!("table {table}: {named}{more}"))
    };
    plan.tables.iter().filter_map(line).collect()
}
