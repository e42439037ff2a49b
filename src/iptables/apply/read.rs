//! Reads the live state with the save tools in parallel.
use super::variants::{Commands, Tool, Variant, Variants};
use crate::iptables::plan::{
    Live, LiveBridge, LiveSets, LiveTable, Part, Readable, TableName, read_bridge, read_sets, read_table,
};
use crate::model::Family;
use crate::system::tools;
use std::fmt::Display;
use std::sync::Arc;
use std::thread::{ScopedJoinHandle, scope};
use std::time::Duration;

/// Reads the stale parts of the live state, in the variants in use.
pub(super) fn refresh(live: &mut Live, variants: &Variants, limit: Duration, stale: impl Fn(Part) -> bool) {
    scope(|threads| {
        let tables = Family::ALL.into_iter().flat_map(|family| TableName::ALL.map(|name| (name, family)));
        let tables: Vec<_> = tables
            .filter(|(name, family)| stale(Part::Table(*name, *family)))
            .map(|(name, family)| {
                let read = move || table(name, variants.commands(Tool::Iptables(family))?, limit);
                (name, family, threads.spawn(read))
            })
            .collect();
        let bridge =
            stale(Part::Bridge).then(|| threads.spawn(move || bridge(variants.commands(Tool::Ebtables)?, limit)));
        if stale(Part::Sets) {
            live.sets = sets(limit).map(Arc::new);
        }
        for (name, family, thread) in tables {
            *live.table_mut(name, family) = joined(thread);
        }
        if let Some(thread) = bridge {
            live.bridge = joined(thread);
        }
    });
}

fn joined<T>(thread: ScopedJoinHandle<'_, Readable<T>>) -> Readable<Arc<T>> {
    let read = thread.join().unwrap_or_else(|_| Err("reading it caused a panic; this is a bug in this program".into()));
    read.map(Arc::new)
}

/// Reads one table.
pub(super) fn table(table: TableName, commands: &Commands, limit: Duration) -> Readable<LiveTable> {
    let text = tools::run(&commands.save, &["-t", table.as_str()], "", limit).map_err(shared)?;
    read_table(&text, table).map_err(|error| format!("'{}': {error}", commands.save).into())
}

/// Reads the ebtables chains.
pub(super) fn bridge(commands: &Commands, limit: Duration) -> Readable<LiveBridge> {
    // ebtables-legacy-save runs 'ebtables' of any variant, and lists nothing if the tables are built into the kernel
    let text = match commands.variant {
        Variant::Legacy => tools::run(&commands.single, &["-t", "filter", "-L"], "", limit),
        Variant::Nft => tools::run(&commands.save, &[], "", limit),
    };
    text.map(|text| read_bridge(&text, commands.bridge_format())).map_err(shared)
}

fn sets(limit: Duration) -> Readable<LiveSets> {
    tools::run("ipset", &["save"], "", limit).map(|text| read_sets(&text)).map_err(shared)
}

/// Whether chains of ours are live in a variant of a tool, or why it does not work.
pub(super) fn holds_ours(tool: Tool, commands: &Commands, limit: Duration) -> Readable<bool> {
    match tool {
        Tool::Iptables(_) => {
            let filter = table(TableName::Filter, commands, limit)?;
            Ok(!filter.is_bare() || !table(TableName::Raw, commands, limit)?.is_bare())
        }
        Tool::Ebtables => bridge(commands, limit).map(|bridge| !bridge.table.is_bare()),
    }
}

fn shared(error: impl Display) -> Arc<str> {
    error.to_string().into()
}
