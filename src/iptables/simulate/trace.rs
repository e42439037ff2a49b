//! Converts the result to the form that both simulators share.
use super::eval::{AnyRule, Verdict};
use super::{Answer, Layer, Passage, Step, Walk, simulate};
use crate::iptables::ruleset::{Ruleset, Target};
use crate::model;
use crate::simulate::{Decided, Sent, Trace, TracedDecision, TracedHop, TracedRule, TracedTable};

/// The verdict on a packet, and the rule that decided.
#[must_use]
pub fn decide(ruleset: &Ruleset, sent: &Sent<'_>) -> Decided {
    let answer = simulate(ruleset, sent);
    let origin = answer.decision().map(|decision| decision.cause.rule.origin().clone());
    Decided { verdict: verdict(answer.verdict), origin }
}

/// The evaluated rules for a packet.
#[must_use]
pub fn trace(ruleset: &Ruleset, sent: &Sent<'_>) -> Trace {
    let answer = simulate(ruleset, sent);
    let decision = answer.decision().map(|decision| TracedDecision {
        cause: rule(&decision.cause),
        rule: rule(&decision.rule),
        elsewhere: decision.is_executed_elsewhere(),
        callers: decision.callers.iter().map(rule).collect(),
    });
    Trace {
        verdict: verdict(answer.verdict),
        answered_with: match answer.verdict {
            Verdict::Reject(with) => Some(with.to_string()),
            Verdict::Accept | Verdict::Drop => None,
        },
        decision,
        hops: answer.hops.iter().map(hop).collect(),
        notes: notes(ruleset, sent, &answer),
    }
}

fn verdict(verdict: Verdict) -> model::Verdict {
    match verdict {
        Verdict::Accept => model::Verdict::Accept,
        Verdict::Drop => model::Verdict::Drop,
        Verdict::Reject(_) => model::Verdict::Reject,
    }
}

fn rule(step: &Step<'_>) -> TracedRule {
    let Step { depth, chain: _, rule, matched } = *step;
    TracedRule { line: step.line(), origin: rule.origin().clone(), depth, matched }
}

fn hop(passage: &Passage<'_>) -> TracedHop {
    let table = |walk: &Walk<'_>| TracedTable {
        tool: walk.tables.tool(),
        hook: passage.hop.hook().to_string(),
        rules: walk.steps.iter().map(rule).collect(),
        verdict: verdict(walk.verdict),
        decided: walk.decision.is_some(),
    };
    TracedHop { place: passage.hop.to_string(), tables: passage.walks.iter().map(table).collect() }
}

fn notes(ruleset: &Ruleset, sent: &Sent<'_>, answer: &Answer<'_>) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if let Layer::Ip(family) = sent.packet.layer
        && ruleset.raw[family].values().any(|chain| !chain.rules().is_empty())
    {
        notes.push("not simulated: the table raw, with its SYN flood limit and conntrack helpers");
    }
    if sent.packet.layer == Layer::Arp {
        notes.push("ARP is filtered by ebtables only");
    }
    let queued = |walk: &Walk<'_>| {
        let rule = walk.decision.as_ref().map(|decision| decision.rule.rule);
        matches!(rule, Some(AnyRule::Ip(rule)) if matches!(rule.target, Target::Nfqueue(_)))
    };
    if answer.hops.iter().flat_map(|hop| &hop.walks).any(queued) {
        notes.push("accepted, and sent to an IPS with NFQUEUE, which may still drop it");
    }
    notes
}
