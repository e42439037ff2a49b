//! Describes the changes of other programs to our tables, in one line for each table.
use crate::nftables::names::TableName;
use crate::nftables::plan::{ChainChange, Edited, LiveCache, Plan, SetChange, TablePlan};

/// Maximum number of chains and sets that a line names.
const MAX_NAMED: usize = 10;

/// The lines for a plan that would be empty without changes by other programs.
///
/// A chain whose rules had not been read since this process created them is named only if its signature or the number of its
/// rules shows the change.
pub(super) fn undone(plan: &Plan, known: &LiveCache) -> Vec<String> {
    let line = |(table, changes): (&TableName, &TablePlan)| {
        let live = known.tables.get(table).map(|table| &table.chains);
        let is_certain =
            |name: &String| live.and_then(|live| live.get(name)).is_none_or(|chain| chain.edited != Edited::Possibly);
        let chains = changes.chains.iter().filter(|(name, _)| is_certain(name)).map(|(name, change)| {
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
