//! Evaluates the chains of one hook, rule by rule.
use super::Hop;
use super::Layer;
use super::eval::{AnyRule, Effect, Situation, Verdict};
use crate::iptables::names;
use crate::iptables::ruleset::{ChainName, Ruleset, Target};
use crate::model::Family;

/// The tables that decide at a hook: the table `filter` of one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// ebtables.
    Bridge,
    /// iptables or ip6tables.
    Ip(Family),
}

impl Tables {
    /// The tables evaluated at a hook, in order. On bridges ebtables is first (`NF_BR_PRI_FILTER_BRIDGED`).
    pub(super) fn at(hop: &Hop, layer: Layer) -> Vec<Self> {
        let bridge = matches!(hop, Hop::Bridge { .. }).then_some(Tables::Bridge);
        let ip = match layer {
            Layer::Ip(family) => Some(Tables::Ip(family)),
            Layer::Arp | Layer::Other(_) => None,
        };
        bridge.into_iter().chain(ip).collect()
    }

    /// The tool for these rules.
    #[must_use]
    pub fn tool(self) -> &'static str {
        match self {
            Tables::Bridge => "ebtables",
            Tables::Ip(Family::V4) => "iptables",
            Tables::Ip(Family::V6) => "ip6tables",
        }
    }

    /// Whether a chain rejects packets with a reply.
    fn answers(self, ruleset: &Ruleset, chain: &ChainName) -> bool {
        let Tables::Ip(family) = self else { return false };
        let rules = ruleset.filter[family].get(chain).map_or(&[][..], |chain| chain.rules());
        rules.iter().any(|rule| matches!(rule.target, Target::Reject(_)))
    }

    fn rule<'a>(self, ruleset: &'a Ruleset, chain: &ChainName, index: usize) -> Option<(&'a ChainName, AnyRule<'a>)> {
        match self {
            Tables::Bridge => {
                let (name, chain) = ruleset.bridge.get_key_value(chain)?;
                Some((name, AnyRule::Bridge(chain.rules().get(index)?)))
            }
            Tables::Ip(family) => {
                let (name, chain) = ruleset.filter[family].get_key_value(chain)?;
                Some((name, AnyRule::Ip(chain.rules().get(index)?)))
            }
        }
    }
}

/// An evaluated rule.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The number of jumps to its chain.
    pub depth: usize,
    /// Its chain.
    pub chain: &'a ChainName,
    /// The rule.
    pub rule: AnyRule<'a>,
    /// Whether it matched.
    pub matched: bool,
}

/// The decision on a packet at a hook.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The rule that caused it.
    pub cause: Step<'a>,
    /// The rule that gave the verdict: in a chain that only replies, logs or marks; otherwise the cause itself.
    pub rule: Step<'a>,
    /// The rules that jumped to the chain of the cause, outermost first.
    pub callers: Vec<Step<'a>>,
}

/// The evaluation of a packet in the tables of one hook.
#[derive(Debug)]
pub struct Walk<'a> {
    /// The tables.
    pub tables: Tables,
    /// The evaluated rules, in order.
    pub steps: Vec<Step<'a>>,
    /// The verdict.
    pub verdict: Verdict,
    /// The decision; `None` if the policy of the built-in chain decided.
    pub decision: Option<Decision<'a>>,
}

/// A chain that is being evaluated.
struct Frame<'a> {
    chain: ChainName,
    next: usize,
    depth: usize,
    callers: Vec<Caller<'a>>,
}

/// A rule that jumped to a chain.
#[derive(Clone)]
struct Caller<'a> {
    step: Step<'a>,
    how: Call,
}

/// The reason for entering a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// To evaluate its rules.
    Jump,
    /// To execute a decision: the chain rejects all packets.
    Errand,
    /// To execute a decision without returning (`-g`).
    Goto,
}

/// Evaluates the rules of a hook, beginning with the chain that its built-in chain jumps to (`-A INPUT -j PVEFW-INPUT`).
pub(super) fn walk<'a>(tables: Tables, ruleset: &'a Ruleset, at: &mut Situation<'_>) -> Walk<'a> {
    let mut walk = Walk { tables, steps: Vec::new(), verdict: Verdict::Accept, decision: None };
    let entry = names::entry(at.hop.hook());
    let mut frames = vec![Frame { chain: entry, next: 0, depth: 0, callers: Vec::new() }];
    // its jump comes before that of the entry chain
    if matches!(at.hop, Hop::Input { .. } | Hop::Output { .. }) {
        frames.push(Frame { chain: names::FAILSAFE.into(), next: 0, depth: 0, callers: Vec::new() });
    }
    while let Some(frame) = frames.last_mut() {
        let Some((chain, rule)) = tables.rule(ruleset, &frame.chain, frame.next) else {
            walk.leave(frames.pop());
            continue;
        };
        frame.next += 1;
        let step = Step { depth: frame.depth, chain, rule, matched: rule.matches(at) };
        walk.steps.push(step);
        if !step.matched {
            continue;
        }
        match rule.effect(at) {
            Effect::Continue => {}
            Effect::Return => {
                walk.decide(step, &frame.callers);
                frames.pop();
            }
            Effect::Final(verdict) => {
                walk.verdict = verdict;
                walk.decide(step, &frame.callers);
                return walk;
            }
            Effect::Jump(to) => {
                let how = if tables.answers(ruleset, to) { Call::Errand } else { Call::Jump };
                let below = frame.below(to, step, how);
                frames.push(below);
            }
            Effect::Goto(to) => *frame = frame.below(to, step, Call::Goto),
        }
    }
    walk
}

impl<'a> Frame<'a> {
    fn below(&self, chain: &ChainName, step: Step<'a>, how: Call) -> Self {
        let callers = self.callers.iter().cloned().chain([Caller { step, how }]).collect();
        let depth = self.depth + usize::from(how != Call::Goto);
        Frame { chain: chain.clone(), next: 0, depth, callers }
    }
}

impl<'a> Walk<'a> {
    /// Records a terminating rule. A rule that matches the mark executes the decision of the rule that set it.
    fn decide(&mut self, rule: Step<'a>, callers: &[Caller<'a>]) {
        if rule.rule.asks_for_mark() && self.decision.is_some() {
            return;
        }
        let errands = callers.iter().rev().take_while(|caller| caller.how != Call::Jump).count();
        let (led, sent) = callers.split_at(callers.len() - errands);
        let cause = sent.first().map_or(rule, |caller| caller.step);
        let callers = led.iter().map(|caller| caller.step).collect();
        self.decision = Some(Decision { cause, rule, callers });
    }

    /// Ends a chain. After a goto, this acts like a RETURN in its caller.
    fn leave(&mut self, frame: Option<Frame<'a>>) {
        if let Some(mut frame) = frame
            && frame.callers.last().is_some_and(|caller| caller.how == Call::Goto)
            && let Some(caller) = frame.callers.pop()
        {
            self.decide(caller.step, &frame.callers);
        }
    }
}
