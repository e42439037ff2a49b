//! Reading what the kernel holds. The tools run side by side.
use super::variants::{Commands, Tool, Variant, Variants};
use crate::plan::{Live, LiveBridge, LiveSets, LiveTable, Readable, TableName, read_bridge, read_sets, read_table};
use crate::ruleset::{Family, PerFamily};
use crate::system::tools;
use std::fmt::Display;
use std::sync::Arc;
use std::thread::{ScopedJoinHandle, scope};
use std::time::Duration;

/// Everything of ours in the variants in use.
pub(super) fn live(variants: &Variants, limit: Duration) -> Live {
    scope(|threads| {
        let read = |name, family| {
            let read = move || table(name, variants.commands(Tool::Iptables(family))?, limit);
            threads.spawn(read)
        };
        let tables = |name| Family::ALL.map(|family| read(name, family));
        let [filter4, filter6] = tables(TableName::Filter);
        let [raw4, raw6] = tables(TableName::Raw);
        let bridge = threads.spawn(move || bridge(variants.commands(Tool::Ebtables)?, limit));
        let sets = sets(limit);
        Live {
            filter: PerFamily { v4: joined(filter4), v6: joined(filter6) },
            raw: PerFamily { v4: joined(raw4), v6: joined(raw6) },
            bridge: joined(bridge),
            sets,
        }
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, Readable<T>>) -> Readable<T> {
    thread.join().unwrap_or_else(|_| Err("reading it ended in a defect of this program".into()))
}

/// Reads one table.
pub(super) fn table(table: TableName, commands: &Commands, limit: Duration) -> Readable<LiveTable> {
    let text = tools::run(&commands.save, &["-t", table.as_str()], "", limit).map_err(shared)?;
    read_table(&text, table).map_err(|error| format!("'{}': {error}", commands.save).into())
}

/// Reads the ebtables chains.
pub(super) fn bridge(commands: &Commands, limit: Duration) -> Readable<LiveBridge> {
    // ebtables-legacy-save asks whatever 'ebtables' is, and lists nothing where tables are built into the kernel
    let text = match commands.variant {
        Variant::Legacy => tools::run(&commands.single, &["--concurrent", "-t", "filter", "-L"], "", limit),
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
