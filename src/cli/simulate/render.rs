//! Text output of a simulation.
use crate::cli::style::{BAD, FAINT, GOOD, PLAIN, TITLE, paint, remarked};
use crate::iptables::simulate::{Answer, Decision, Passage, Step, Verdict, Walk};
use crate::model::Origin;
use anstyle::Style;

/// The known fields of the packet; with `verbose` its path; the verdict.
pub fn text(packet: &[(&str, String)], answer: &Answer<'_>, notes: &[String], verbose: bool) -> String {
    let mut text = paint(TITLE, "Test packet:") + "\n";
    for (name, value) in packet {
        text += &format!("  {name:8}: {value}\n");
    }
    if verbose {
        text.extend(answer.hops.iter().map(passage));
        text += &decided(answer);
        text.extend(notes.iter().map(|note| paint(FAINT, format_args!("note: {note}")) + "\n"));
    }
    text + &format!("ACTION: {}\n", verdict(answer.verdict))
}

fn verdict(verdict: Verdict) -> String {
    paint(style(verdict), verdict)
}

fn style(verdict: Verdict) -> Style {
    if verdict == Verdict::Accept { GOOD } else { BAD }
}

/// A hook with its evaluated rules.
fn passage(passage: &Passage<'_>) -> String {
    let mut text = paint(TITLE, &passage.hop) + "\n";
    for walk in &passage.walks {
        text += &format!("  {} {}\n", walk.tables.tool(), passage.hop.hook());
        text.extend(walk.steps.iter().map(step));
        text += &outcome(walk);
    }
    text
}

/// A rule, indented by the depth of its chain, with a leading `+` if it matched, and with file and line.
fn step(step: &Step<'_>) -> String {
    let (mark, style) = if step.matched { ('+', PLAIN) } else { (' ', FAINT) };
    let line = format!("    {mark} {:indent$}{}", "", step.line(), indent = 2 * step.depth);
    remarked(style, &line, Some(step.rule.origin()).filter(|origin| matches!(origin, Origin::Line(..))))
}

fn outcome(walk: &Walk<'_>) -> String {
    let by = if walk.decision.is_some() { "" } else { " (no rule decides; policy of the built-in chain)" };
    format!("    {}: {}{by}\n", walk.tables.tool(), verdict(walk.verdict))
}

fn decided(answer: &Answer<'_>) -> String {
    let mut text = paint(TITLE, "decided by:");
    match answer.decision() {
        Some(decision) => text += &format!(" {}\n{}", decision.cause.rule.origin(), causes(decision)),
        None => text += " no rule; packets that match no rule of the firewall are accepted\n",
    }
    if let Verdict::Reject(with) = answer.verdict {
        text += &format!("answered with: {with}\n");
    }
    text
}

/// The deciding rule, and the rules that jumped to its chain, innermost first.
fn causes(decision: &Decision<'_>) -> String {
    let mut text = format!("  {}\n", decision.cause.line());
    if decision.is_carried_out_elsewhere() {
        text += &format!("  carried out by {}\n", decision.rule.line());
    }
    for caller in decision.callers.iter().rev() {
        text += &format!("  called by {} ({})\n", caller.line(), caller.rule.origin());
    }
    text
}
