//! `simulate`: traces one packet through the compiled ruleset.
mod locate;
mod question;
mod render;

use super::args::SimulateOptions;
use super::load::{self, View};
use super::{Context, output};
use crate::iptables::plan::Live;
use crate::iptables::ruleset::Target;
use crate::iptables::simulate::{Answer, AnyRule, Layer, Packet, Passage, Question, Step, Verdict, Walk, simulate};
use crate::model::Origin;
use crate::node::broadcasts;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

pub(super) fn run(context: &Context, options: &SimulateOptions) -> Result<()> {
    load::note_trial(context);
    let view = load::read(context, Live::empty)?;
    let (from, to) = locate::locate(&options.from, &options.to, &view)?;
    let packet = question::packet(options, &from, &to, &view.facts)?;
    let off: Vec<String> = [&from, &to].into_iter().filter_map(|one| locate::switched_off(one, &view)).collect();
    let ruleset = &view.compiled.ruleset;
    let question = Question {
        ruleset,
        packet: &packet,
        from: from.end,
        to: to.end,
        broadcasts: broadcasts(&view.facts.routes_v4),
    };
    let answer = simulate(&question);
    let (known, notes) = (known(options, &packet), notes(&view, off, &packet, &answer));
    if options.json {
        let object = object(&known, &answer, &notes);
        let text = serde_json::to_string_pretty(&object).context("cannot write JSON")?;
        return output::data(&format!("{text}\n"));
    }
    output::data(&render::text(&known, &answer, &notes, context.verbose))
}

/// The known fields of the packet by name.
fn known(options: &SimulateOptions, packet: &Packet) -> Vec<(&'static str, String)> {
    let text = |value: Option<String>, name| value.map(|value| (name, value));
    let lines = [
        Some(("from", options.from.to_string())),
        Some(("to", options.to.to_string())),
        Some(("proto", question::name(options, packet))),
        text(packet.source.map(|address| address.to_string()), "source"),
        text(packet.dest.map(|address| address.to_string()), "dest"),
        text(packet.sport.map(|port| port.to_string()), "sport"),
        text(packet.dport.map(|port| port.to_string()), "dport"),
        text(options.icmp_type.clone(), "icmp-type"),
    ];
    lines.into_iter().flatten().collect()
}

/// Notes that explain the verdict.
fn notes(view: &View, off: Vec<String>, packet: &Packet, answer: &Answer<'_>) -> Vec<String> {
    let mut notes = if view.compiled.enabled {
        off
    } else {
        let text = "the firewall is off in the whole cluster, so every packet is accepted: set 'enable: 1' in [OPTIONS] of \
             cluster.fw";
        vec![text.to_string()]
    };
    let unknown = question::unknown(packet);
    if !unknown.is_empty() {
        notes.push(format!("not given, so rules with a match on it do not match: {}", unknown.join(", ")));
    }
    if let Layer::Ip(family) = packet.layer
        && view.compiled.ruleset.raw[family].values().any(|chain| !chain.rules().is_empty())
    {
        notes.push("not simulated: the table raw, with its SYN flood limit and conntrack helpers".to_string());
    }
    if packet.layer == Layer::Arp {
        notes.push("ARP is filtered by ebtables only".to_string());
    }
    let queued = |walk: &Walk<'_>| {
        let rule = walk.decision.as_ref().map(|decision| decision.rule.rule);
        matches!(rule, Some(AnyRule::Ip(rule)) if matches!(rule.target, Target::Nfqueue(_)))
    };
    if answer.hops.iter().flat_map(|hop| &hop.walks).any(queued) {
        notes.push("accepted, and sent to an IPS with NFQUEUE, which may still drop it".to_string());
    }
    notes
}

fn object(known: &[(&str, String)], answer: &Answer<'_>, notes: &[String]) -> Value {
    let rule = |step: &Step<'_>| json!({ "rule": step.line(), "origin": origin(step.rule.origin()) });
    let decided_by = answer.decision().map(|decision| {
        let callers: Vec<_> = decision.callers.iter().rev().map(rule).collect();
        let cause = &decision.cause;
        json!({
            "rule": cause.line(),
            "origin": origin(cause.rule.origin()),
            "carried_out_by": decision.rule.line(),
            "called_by": callers,
        })
    });
    let answered_with = match answer.verdict {
        Verdict::Reject(with) => Some(with.to_string()),
        Verdict::Accept | Verdict::Drop => None,
    };
    json!({
        "packet": known.iter().map(|(name, value)| (name.to_string(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "action": answer.verdict.to_string(),
        "answered_with": answered_with,
        "decided_by": decided_by,
        "way": answer.hops.iter().map(hop).collect::<Vec<_>>(),
        "notes": notes,
    })
}

fn hop(passage: &Passage<'_>) -> Value {
    let table = |walk: &Walk<'_>| {
        let rule = |step: &Step<'_>| {
            json!({
                "depth": step.depth,
                "rule": step.line(),
                "matched": step.matched,
                "origin": origin(step.rule.origin()),
            })
        };
        json!({
            "tool": walk.tables.tool(),
            "hook": passage.hop.hook(),
            "rules": walk.steps.iter().map(rule).collect::<Vec<_>>(),
            "action": walk.verdict.to_string(),
        })
    };
    json!({ "hop": passage.hop.to_string(), "tables": passage.walks.iter().map(table).collect::<Vec<_>>() })
}

/// The origin of a rule: file and line, or a description.
fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Line(file, line) => json!({ "file": file.as_ref(), "line": line }),
        Origin::Made(what) => json!({ "made_by": what.as_str() }),
    }
}
