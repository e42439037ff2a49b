//! `simulate`: traces one packet through the compiled ruleset.
mod address_owner;
mod endpoints;
mod packet;
mod render;

use super::args::SimulateOptions;
use super::load::{self, View};
use super::{Context, output};
use crate::health::Affected;
use crate::model::{BackendKind, Origin};
use crate::node::broadcasts;
use crate::simulate::{End, Packet, Sent, Trace, TracedHop, TracedRule, TracedTable};
use anyhow::{Context as _, Result};
use endpoints::Located;
use serde_json::{Value, json};

pub(super) fn run(context: &Context, options: &SimulateOptions) -> Result<()> {
    load::note_trial(context);
    let view = load::read_in_use(context)?;
    if context.kind == BackendKind::Nftables {
        load::note_other_backend(context, &view.compiled);
    }
    let (from, to) = endpoints::locate(&options.from, &options.to, &view)?;
    let packet = packet::of_options(options, &from, &to, &view.facts)?;
    let warnings = warnings(context, [&from.end, &to.end]);
    let of_ends = |note: fn(&Located, &View) -> Option<String>| {
        [&from, &to].into_iter().filter_map(|end| note(end, &view)).collect::<Vec<_>>()
    };
    let mut unusual = unfiltered(&view, of_ends(endpoints::switched_off));
    unusual.extend(of_ends(endpoints::unowned));
    unusual.extend(warnings);
    let broadcasts = broadcasts(&view.facts.routes_v4);
    let sent = Sent { packet: &packet, from: from.end, to: to.end, broadcasts: &broadcasts };
    let trace = view.compiled.rules.trace(&sent);
    if !options.json && !context.verbose {
        unusual.iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    let (known, notes) = (known(options, &packet), notes(unusual, &packet, &trace));
    if options.json {
        let object = object(&known, &trace, &notes);
        let text = serde_json::to_string_pretty(&object).context("cannot write JSON")?;
        return output::data(&format!("{text}\n"));
    }
    output::data(&render::text(&known, &trace, &notes, context.verbose))
}

/// The daemon's findings that affect one of the endpoints.
fn warnings(context: &Context, ends: [&End; 2]) -> Vec<String> {
    let is_affected = |affected: &Affected, end: &End| match end {
        End::Host => affected.node,
        End::Guest(guest) => affected.guests.contains(&guest.device.vmid),
        End::Port { .. } => false,
    };
    let warnings = load::warnings(context, |affected| ends.iter().any(|end| is_affected(affected, end)));
    warnings.iter().map(|one| format!("the result on this node may be different: {}", one.line())).collect()
}

/// The known fields of the packet by name.
fn known(options: &SimulateOptions, packet: &Packet) -> Vec<(&'static str, String)> {
    let text = |value: Option<String>, name| value.map(|value| (name, value));
    let lines = [
        Some(("from", options.from.to_string())),
        Some(("to", options.to.to_string())),
        Some(("proto", packet::protocol_name(options, packet))),
        text(packet.source.map(|address| address.to_string()), "source"),
        text(packet.dest.map(|address| address.to_string()), "dest"),
        text(packet.sport.map(|port| port.to_string()), "sport"),
        text(packet.dport.map(|port| port.to_string()), "dport"),
        text(options.icmp_type.clone(), "icmp-type"),
    ];
    lines.into_iter().flatten().collect()
}

/// Why nothing is filtered: the firewall of the cluster is off, or else that of the endpoints.
fn unfiltered(view: &View, off: Vec<String>) -> Vec<String> {
    if view.compiled.enabled {
        return off;
    }
    let enable = view.compiled.configuration.cluster.options.enable;
    let since = match enable {
        0 | 1 => String::new(),
        time => format!(" since a minute after the time {time} in 'enable'"),
    };
    let text = format!(
        "the firewall is off in the whole cluster{since}, so every packet is accepted: set 'enable: 1' in [OPTIONS] of cluster.fw"
    );
    vec![text]
}

/// Notes that explain the verdict.
fn notes(unusual: Vec<String>, packet: &Packet, trace: &Trace) -> Vec<String> {
    let mut notes = unusual;
    let missing = packet::missing_fields(packet);
    if !missing.is_empty() {
        notes.push(format!("not given, so rules with a match on it do not match: {}", missing.join(", ")));
    }
    notes.extend(trace.notes.iter().map(|note| (*note).to_string()));
    notes
}

fn object(known: &[(&str, String)], trace: &Trace, notes: &[String]) -> Value {
    let rule = |rule: &TracedRule| json!({ "rule": rule.line, "origin": origin(&rule.origin) });
    let decided_by = trace.decision.as_ref().map(|decision| {
        let callers: Vec<_> = decision.callers.iter().rev().map(rule).collect();
        let cause = &decision.cause;
        json!({
            "rule": cause.line,
            "origin": origin(&cause.origin),
            "carried_out_by": decision.rule.line,
            "called_by": callers,
        })
    });
    json!({
        "packet": known.iter().map(|(name, value)| (name.to_string(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "action": trace.verdict.to_string(),
        "answered_with": trace.answered_with,
        "decided_by": decided_by,
        "way": trace.hops.iter().map(hop).collect::<Vec<_>>(),
        "notes": notes,
    })
}

fn hop(TracedHop { place, tables }: &TracedHop) -> Value {
    let rule = |TracedRule { line, origin: from, depth, matched }: &TracedRule| json!({ "depth": depth, "rule": line, "matched": matched, "origin": origin(from) });
    let table = |TracedTable { tool, hook, rules, verdict, decided: _ }: &TracedTable| {
        json!({
            "tool": tool,
            "hook": hook,
            "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            "action": verdict.to_string(),
        })
    };
    json!({ "hop": place, "tables": tables.iter().map(table).collect::<Vec<_>>() })
}

/// The origin of a rule: file and line, or a description.
fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Line(file, line) => json!({ "file": file.as_ref(), "line": line }),
        Origin::Default(..) | Origin::Generated(_) => json!({ "made_by": origin.to_string() }),
    }
}
