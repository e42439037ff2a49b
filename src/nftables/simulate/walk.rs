//! Evaluates a base chain and the chains that it jumps to, rule by rule.
use super::eval::{Effect, EvalContext, Verdict};
use crate::model::Origin;
use crate::nftables::names::Name;
use crate::nftables::ruleset::Rule;

/// An evaluated rule.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The number of jumps to its chain.
    pub depth: usize,
    /// Its chain.
    pub chain: &'a Name,
    /// The rule.
    pub rule: &'a Rule,
    /// Whether it matched.
    pub matched: bool,
}

/// The rule that decided the verdict on a packet.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The rule with the verdict.
    pub rule: Step<'a>,
    /// The rules that jumped to its chain, the outermost first.
    pub callers: Vec<Step<'a>>,
}

impl<'a> Decision<'a> {
    /// The rule whose configuration line caused the decision: the rule with the verdict, or the one that jumped to the standard
    /// chain that contains it.
    #[must_use]
    pub fn cause(&self) -> Step<'a> {
        let all = self.callers.iter().chain([&self.rule]);
        let of_user = all.rev().find(|step| matches!(step.rule.origin, Origin::Line(..)));
        *of_user.unwrap_or(&self.rule)
    }
}

/// The evaluation of a base chain.
#[derive(Debug)]
pub struct Walk<'a> {
    /// The base chain.
    pub base: &'a Name,
    /// The evaluated rules, in order.
    pub steps: Vec<Step<'a>>,
    /// The verdict.
    pub verdict: Verdict,
    /// The decision; `None` if the policy of the base chain decided, which is accept.
    pub decision: Option<Decision<'a>>,
}

/// A chain that is being evaluated.
struct CallFrame<'a> {
    chain: &'a Name,
    next: usize,
    callers: Vec<Step<'a>>,
    depth: usize,
}

/// Evaluates a base chain.
pub(super) fn walk<'a>(at: &EvalContext<'a, '_>, base: &'a Name) -> Walk<'a> {
    let mut walk = Walk { base, steps: Vec::new(), verdict: Verdict::Accept, decision: None };
    let mut frames = vec![CallFrame { chain: base, next: 0, callers: Vec::new(), depth: 0 }];
    while let Some(frame) = frames.last_mut() {
        let chain = at.table().and_then(|table| table.chains.get(frame.chain));
        let Some(rule) = chain.and_then(|chain| chain.rules().get(frame.next)) else {
            frames.pop();
            continue;
        };
        frame.next += 1;
        let matched = rule.matches.iter().all(|one| at.matches(one));
        let step = Step { depth: frame.depth, chain: frame.chain, rule, matched };
        walk.steps.push(step);
        if !matched {
            continue;
        }
        match at.effect(&rule.action) {
            Effect::Continue => {}
            Effect::Return => {
                frames.pop();
            }
            Effect::Jump(chain) => {
                let callers = frame.callers.iter().copied().chain([step]).collect();
                let depth = frame.depth + 1;
                frames.push(CallFrame { chain, next: 0, callers, depth });
            }
            Effect::Goto(chain) => {
                frame.callers.push(step);
                (frame.chain, frame.next) = (chain, 0);
            }
            Effect::Final(verdict) => {
                walk.verdict = verdict;
                walk.decision = Some(Decision { rule: step, callers: frame.callers.clone() });
                return walk;
            }
        }
    }
    walk
}
