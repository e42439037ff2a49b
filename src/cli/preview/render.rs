//! Text and JSON output of a preview.
use super::Preview;
use crate::cli::compile::diff;
use crate::cli::style::{BAD, CHANGE, FAINT, TITLE, paint};
use crate::connections::RefusedConnection;
use crate::listing::{Change, PlannedAction};
use anyhow::{Context as _, Result};
use serde_json::json;

/// Maximum number of listed connections.
const MAX_CONNECTIONS: usize = 20;
/// Maximum number of listed chains and sets.
const MAX_CHANGES: usize = 20;

/// The text output.
pub(super) fn text(preview: &Preview, diff: bool) -> String {
    let mut text = String::new();
    for warning in &preview.warnings {
        text += &format!("{}\n", paint(BAD, format_args!("WARNING: {warning}")));
    }
    text += &changes(&preview.difference.changes);
    if diff {
        text += &diff::text(&preview.difference);
    }
    text + &connections(preview)
}

fn changes(changes: &[Change]) -> String {
    let count = |set: bool| changes.iter().filter(|change| change.is_set == set).count();
    let (chains, sets) = (count(false), count(true));
    if changes.is_empty() {
        return "No chain and no set changes on this node\n".to_string();
    }
    let mut text = paint(TITLE, format_args!("{} and {}:", number(chains, "chain"), number(sets, "set"))) + "\n";
    for Change { part, is_set: _, action, name, old: _, new: _ } in changes.iter().take(MAX_CHANGES) {
        text += &format!("  {} {part}: {name}\n", paint(CHANGE, word(*action)));
    }
    text + &more(changes.len(), MAX_CHANGES)
}

fn word(action: PlannedAction) -> &'static str {
    match action {
        PlannedAction::Create => "create",
        PlannedAction::Delete => "delete",
        PlannedAction::Update | PlannedAction::Exists | PlannedAction::Ignore => "update",
    }
}

fn number(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn more(all: usize, shown: usize) -> String {
    if all > shown { format!("  and {} more\n", all - shown) } else { String::new() }
}

fn connections(preview: &Preview) -> String {
    let comparison = &preview.comparison;
    if let Some(error) = &preview.current.error {
        return format!("Connections: {error}\n");
    }
    let (refused, simulated) = (comparison.refused.len(), number(comparison.simulated, "connection"));
    let mut text = match refused {
        0 => format!("{simulated} checked, none would be refused\n"),
        1 => paint(BAD, format_args!("{simulated} checked, 1 would be refused if it started now:")) + "\n",
        _ => paint(BAD, format_args!("{simulated} checked, {refused} would be refused if they started now:")) + "\n",
    };
    for one in comparison.refused.iter().take(MAX_CONNECTIONS) {
        text += &line(preview, one);
    }
    text += &more(refused, MAX_CONNECTIONS);
    for (why, count) in &comparison.not_simulated {
        text += &(paint(FAINT, format_args!("Not checked: {} {why}", number(*count, "connection"))) + "\n");
    }
    text
}

fn line(preview: &Preview, one: &RefusedConnection) -> String {
    let zone = if one.connection.zone == 0 { String::new() } else { format!(" (zone {})", one.connection.zone) };
    let whose = one.guest.map_or_else(|| "this node".to_string(), |vmid| format!("guest {vmid}"));
    let own = if preview.current.is_own(&one.connection) { ", your own session" } else { "" };
    let (tuple, by) = (one.connection.original, preview.origin(&one.origin));
    format!("  {tuple}{zone}  {whose}{own}: {} by {by}\n", one.verdict)
}

/// The JSON output.
pub(super) fn json(preview: &Preview) -> Result<String> {
    let change = |change: &Change| json!({ "part": change.part, "action": word(change.action), "name": change.name });
    let refused = |one: &RefusedConnection| {
        json!({
            "connection": one.connection.original.to_string(),
            "source": one.connection.original.source,
            "dest": one.connection.original.dest,
            "zone": one.connection.zone,
            "guest": one.guest,
            "own_session": preview.current.is_own(&one.connection),
            "action": one.verdict.to_string(),
            "origin": preview.origin(&one.origin),
        })
    };
    let not_simulated: serde_json::Map<String, serde_json::Value> =
        preview.comparison.not_simulated.iter().map(|(why, count)| (why.to_string(), json!(count))).collect();
    let object = json!({
        "files": preview.files.0.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
        "warnings": preview.warnings,
        "changes": preview.difference.changes.iter().map(change).collect::<Vec<_>>(),
        "connections": {
            "judged": preview.comparison.simulated,
            "refused": preview.comparison.refused.iter().map(refused).collect::<Vec<_>>(),
            "not_judged": not_simulated,
            "trouble": preview.current.error,
        },
    });
    let text = serde_json::to_string_pretty(&object).context("cannot encode the preview")?;
    Ok(format!("{text}\n"))
}
