//! Reads the live state with the save tools, and the kernel's summaries of it.
use super::tool_names::{Commands, Tool, Variant};
use crate::iptables::names::is_own_set;
use crate::iptables::plan::{
    BridgeParser, LiveBridge, LiveSets, LiveTable, Part, Readable, TableName, TableParser, is_own_line, read_sets,
};
use crate::model::Family;
use crate::system::netfilter::{self, Summary};
use crate::system::tools;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// Reads one table.
pub(super) fn table(table: TableName, commands: &Commands, limit: Duration) -> Readable<LiveTable> {
    let mut parser = TableParser::new(table);
    tools::lines(&commands.save, &["-t", table.as_str()], limit, |line| parser.line(line)).map_err(shared)?;
    finished(parser, commands)
}

/// Reads tables of a family, all in one run of iptables-nft-save, which fetches the rules of all tables in any case. After a
/// table that cannot be read, iptables-legacy-save is not run again.
pub(super) fn tables(
    names: &[TableName],
    commands: &Commands,
    limit: Duration,
) -> Vec<(TableName, Readable<LiveTable>)> {
    let alone = |name: TableName| (name, table(name, commands, limit));
    if commands.variant == Variant::Legacy || names.len() < 2 {
        let mut read = Vec::new();
        for name in names {
            read.push(alone(*name));
            if read.last().is_some_and(|(_, table)| table.is_err()) {
                break;
            }
        }
        return read;
    }
    let mut parsers: Vec<TableParser> = names.iter().copied().map(TableParser::new).collect();
    let read = tools::lines(&commands.save, &[], limit, |line| parsers.iter_mut().for_each(|parser| parser.line(line)));
    let read = read.map_err(shared);
    let parsed = |(name, parser): (&TableName, TableParser)| match &read {
        Err(error) => (*name, Err(error.clone())),
        // a table that has never been used is printed only if it is requested
        Ok(()) if !parser.has_begun() => alone(*name),
        Ok(()) => (*name, finished(parser, commands)),
    };
    names.iter().zip(parsers).map(parsed).collect()
}

fn finished(parser: TableParser, commands: &Commands) -> Readable<LiveTable> {
    parser.end().map_err(|error| format!("'{}': {error}", commands.save).into())
}

/// Reads the ebtables chains.
pub(super) fn bridge(commands: &Commands, limit: Duration) -> Readable<LiveBridge> {
    // ebtables-legacy-save runs 'ebtables' of any variant, and lists nothing if the tables are built into the kernel
    let (tool, args): (_, &[&str]) = match commands.variant {
        Variant::Legacy => (&commands.single, &["-t", "filter", "-L"]),
        Variant::Nft => (&commands.save, &[]),
    };
    let mut parser = BridgeParser::new(commands.bridge_format());
    tools::lines(tool, args, limit, |line| parser.line(line)).map_err(shared)?;
    Ok(parser.end())
}

/// Reads the sets.
pub(super) fn sets(limit: Duration) -> Readable<LiveSets> {
    let own = tools::kept_lines("ipset", &["save"], limit, is_own_line).map_err(shared)?;
    Ok(read_sets(&own))
}

/// The rules in a variant of a tool.
#[derive(Clone, Debug)]
pub(super) enum VariantContent {
    /// The tables of iptables or ip6tables.
    Tables(Family, Vec<(TableName, LiveTable)>),
    /// The table of ebtables.
    Bridge(LiveBridge),
}

impl VariantContent {
    /// Whether it contains chains of ours.
    pub fn has_ours(&self) -> bool {
        match self {
            VariantContent::Tables(_, tables) => tables.iter().any(|(_, table)| !table.has_no_own()),
            VariantContent::Bridge(bridge) => !bridge.table.has_no_own(),
        }
    }
}

/// The content that was read, with the summaries taken before. A part without a summary may have changed since.
#[derive(Debug)]
pub(super) struct Fresh {
    pub content: VariantContent,
    pub evidence: BTreeMap<Part, Summary>,
}

/// The rules in a variant of a tool, or why it does not work. If the first table contains chains of ours, a second table that
/// cannot be read is left out.
pub(super) fn content(tool: Tool, commands: &Commands, limit: Duration) -> Readable<VariantContent> {
    let Tool::Iptables(family) = tool else { return bridge(commands, limit).map(VariantContent::Bridge) };
    let mut read: Vec<(TableName, LiveTable)> = Vec::new();
    for (name, table) in tables(&TableName::ALL, commands, limit) {
        match table {
            Err(_) if read.iter().any(|(_, table)| !table.has_no_own()) => {}
            table => read.push((name, table?)),
        }
    }
    Ok(VariantContent::Tables(family, read))
}

/// The summary of a part in a variant; the sets have no variants.
///
/// # Errors
/// When the kernel has no such table, or cannot be queried.
pub(super) fn summary(part: Part, variant: Variant) -> anyhow::Result<Summary> {
    match (variant, part) {
        (_, Part::Sets) => netfilter::sets(is_own_set),
        (Variant::Nft, _) => netfilter::nftables(),
        (Variant::Legacy, Part::Bridge) => netfilter::ebtables("filter"),
        (Variant::Legacy, Part::Table(table, family)) => netfilter::iptables(table.as_str(), family == Family::V6),
    }
}

fn shared(error: impl Display) -> Arc<str> {
    error.to_string().into()
}
