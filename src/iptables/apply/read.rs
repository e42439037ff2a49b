//! Reads the live state with the save tools.
use super::commands::{Commands, Tool, Variant};
use crate::iptables::plan::{LiveBridge, LiveSets, LiveTable, Readable, TableName, read_bridge, read_sets, read_table};
use crate::system::tools;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

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

/// Reads the sets.
pub(super) fn sets(limit: Duration) -> Readable<LiveSets> {
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
