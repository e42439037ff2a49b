//! Text output of a simulation.
use crate::cli::style::{BAD, FAINT, GOOD, PLAIN, TITLE, paint, remarked};
use crate::model::{Origin, Verdict};
use crate::simulate::{Trace, TracedDecision, TracedHop, TracedRule, TracedTable};
use anstyle::Style;

/// The known fields of the packet; with `verbose` its path; the verdict.
pub fn text(packet: &[(&str, String)], trace: &Trace, notes: &[String], verbose: bool) -> String {
    let mut text = paint(TITLE, "Test packet:") + "\n";
    for (name, value) in packet {
        text += &format!("  {name:8}: {value}\n");
    }
    if verbose {
        text.extend(trace.hops.iter().map(hop));
        text += &decided(trace);
        text.extend(notes.iter().map(|note| paint(FAINT, format_args!("note: {note}")) + "\n"));
    }
    text + &format!("ACTION: {}\n", verdict(trace.verdict))
}

fn verdict(verdict: Verdict) -> String {
    paint(style(verdict), verdict)
}

fn style(verdict: Verdict) -> Style {
    if verdict == Verdict::Accept { GOOD } else { BAD }
}

/// A hook with its evaluated rules.
fn hop(TracedHop { place, tables }: &TracedHop) -> String {
    let mut text = paint(TITLE, place) + "\n";
    for table in tables {
        text += &format!("  {} {}\n", table.tool, table.hook);
        text.extend(table.rules.iter().map(rule));
        text += &outcome(table);
    }
    text
}

/// A rule, indented by the depth of its chain, with a leading `+` if it matched, and with file and line.
fn rule(TracedRule { line, origin, depth, matched }: &TracedRule) -> String {
    let (mark, style) = if *matched { ('+', PLAIN) } else { (' ', FAINT) };
    let line = format!("    {mark} {:indent$}{line}", "", indent = 2 * depth);
    remarked(style, &line, Some(origin).filter(|origin| matches!(origin, Origin::Line(..))))
}

fn outcome(table: &TracedTable) -> String {
    let by = if table.decided { "" } else { " (no rule decides; policy of the built-in chain)" };
    format!("    {}: {}{by}\n", table.tool, verdict(table.verdict))
}

fn decided(trace: &Trace) -> String {
    let mut text = paint(TITLE, "decided by:");
    match &trace.decision {
        Some(decision) => text += &format!(" {}\n{}", decision.cause.origin, causes(decision)),
        None => text += " no rule; packets that match no rule of the firewall are accepted\n",
    }
    if let Some(with) = &trace.answered_with {
        text += &format!("answered with: {with}\n");
    }
    text
}

/// The deciding rule, and the rules that jumped to its chain, innermost first.
fn causes(TracedDecision { cause, rule, elsewhere, callers }: &TracedDecision) -> String {
    let mut text = format!("  {}\n", cause.line);
    if *elsewhere {
        text += &format!("  carried out by {}\n", rule.line);
    }
    for caller in callers.iter().rev() {
        text += &format!("  called by {} ({})\n", caller.line, caller.origin);
    }
    text
}
