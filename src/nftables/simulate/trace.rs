//! Converts the result to the form that both simulators share.
use super::{Answer, At, Step, Verdict, Walk, simulate};
use crate::model;
use crate::nftables::names::Name;
use crate::nftables::ruleset::{Action, Hook, Rejection, Rule, Ruleset};
use crate::simulate::{Decided, Sent, Trace, TracedDecision, TracedHop, TracedRule, TracedTable};

/// The verdict on a packet, and the rule that decided.
#[must_use]
pub fn decide(ruleset: &Ruleset, sent: &Sent<'_>) -> Decided {
    let answer = simulate(ruleset, sent);
    let origin = answer.decision().map(|decision| decision.cause().rule.origin.clone());
    Decided { verdict: verdict(answer.verdict), origin }
}

/// The verdict on a packet, with all hooks, chains and rules that it passes.
#[must_use]
pub fn trace(ruleset: &Ruleset, sent: &Sent<'_>) -> Trace {
    let answer = simulate(ruleset, sent);
    let decision = answer.decision().map(|decision| {
        let cause = decision.cause();
        let outside = decision.callers.iter().take_while(|caller| !std::ptr::eq(caller.rule, cause.rule));
        TracedDecision {
            cause: rule(&cause),
            rule: rule(&decision.rule),
            elsewhere: cause.chain != decision.rule.chain,
            callers: outside.map(rule).collect(),
        }
    });
    Trace {
        verdict: verdict(answer.verdict),
        answered_with: match answer.verdict {
            Verdict::Reject(rejection) => Some(reply(rejection).to_string()),
            Verdict::Accept | Verdict::Drop => None,
        },
        decision,
        hops: answer.walks.iter().map(hop).collect(),
        notes: notes(ruleset, &answer),
    }
}

fn verdict(verdict: Verdict) -> model::Verdict {
    match verdict {
        Verdict::Accept => model::Verdict::Accept,
        Verdict::Drop => model::Verdict::Drop,
        Verdict::Reject(_) => model::Verdict::Reject,
    }
}

fn reply(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::TcpReset => "tcp reset",
        Rejection::PortUnreachable(model::Family::V4) => "icmp port-unreachable",
        Rejection::PortUnreachable(model::Family::V6) => "icmpv6 port-unreachable",
        Rejection::Prohibited(model::Family::V4) => "icmp host-prohibited",
        Rejection::Prohibited(model::Family::V6) => "icmpv6 admin-prohibited",
    }
}

fn rule(step: &Step<'_>) -> TracedRule {
    let Step { depth, chain, rule, matched } = *step;
    TracedRule { line: line(chain, rule), origin: rule.origin.clone(), depth, matched }
}

fn hop((at, walk): &(At, Walk<'_>)) -> TracedHop {
    let table = TracedTable {
        tool: "nft",
        hook: format!("{} {}", at.table, walk.base),
        rules: walk.steps.iter().map(rule).collect(),
        verdict: verdict(walk.verdict),
        decided: walk.decision.is_some(),
    };
    TracedHop { place: at.to_string(), tables: vec![table] }
}

fn notes(ruleset: &Ruleset, answer: &Answer<'_>) -> Vec<&'static str> {
    let mut notes = Vec::new();
    let early = |hook: &Hook| hook.name == "prerouting" && hook.priority < 0;
    let chains = ruleset.tables.values().flat_map(|table| table.chains.values());
    if chains.filter_map(|chain| chain.hook()).any(|hook| early(&hook)) {
        notes.push("not simulated: the SYN flood limit and conntrack helpers");
    }
    let queued = |(_, walk): &(At, Walk<'_>)| {
        walk.decision.as_ref().is_some_and(|decision| matches!(decision.rule.rule.action, Action::Queue(..)))
    };
    if answer.walks.iter().any(queued) {
        notes.push("accepted, and sent to an IPS with a queue, which may still drop it");
    }
    notes
}

/// The rule after the name of its chain, without a comment: the origin is printed separately.
fn line(chain: &Name, rule: &Rule) -> String {
    let mut line = format!("{chain} ");
    rule.put(&mut line);
    line
}
