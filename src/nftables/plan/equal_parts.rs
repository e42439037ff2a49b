//! Caches the result of a comparison, so that the next one compares only what differs from it.
use super::diff::{Plan, TablePlan};
use super::live_cache::LiveCache;
use crate::nftables::ruleset::{Ruleset, Table};

/// Caches the result of a comparison: what the plan does not change is live.
pub fn cache_equal_parts(known: &mut LiveCache, wanted: &Ruleset, plan: &Plan) {
    for (name, table) in &mut known.tables {
        // live chains that are kept differ from the wanted ones, although the plan does not change them
        let wanted = wanted.tables.get(name).filter(|_| !wanted.keeps_live_chains());
        table.equal = wanted.map(|wanted| unchanged(wanted, plan.tables.get(name))).unwrap_or_default();
    }
}

/// The part of a wanted table that a plan does not change.
fn unchanged(wanted: &Table, plan: Option<&TablePlan>) -> Table {
    let mut table = wanted.clone();
    let Some(plan) = plan else { return table };
    // exhaustive: a new kind of change must be left out here too
    let TablePlan { deletes_table, wanted: _, chains, sets, elements, new_objects: _, old_objects: _ } = plan;
    if *deletes_table {
        return Table::default();
    }
    chains.keys().for_each(|name| drop(table.chains.remove(name.as_str())));
    for name in sets.keys().chain(elements.keys()) {
        table.sets.remove(name.as_str());
        table.maps.remove(name.as_str());
    }
    table
}
