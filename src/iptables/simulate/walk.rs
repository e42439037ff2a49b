//! Evaluates the chains of one hook, rule by rule.
use super::Hop;
use super::Layer;
use super::eval::{AnyRule, Effect, EvalContext, Verdict};
use crate::iptables::names;
use crate::iptables::ruleset::{BridgeRule, ChainName, MacStyle, Rule, Ruleset, Target};
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
    /// The tables evaluated at a hook, in order. On bridges ebtables is first (`NF_BR_PRI_FILTER_BRIDGED`), and only frames
    /// without a tag continue with iptables (`bridge-nf-filter-vlan-tagged` is off).
    pub(super) fn at(hop: &Hop, layer: Layer, tagged: bool) -> Vec<Self> {
        let bridge = matches!(hop, Hop::Bridge { .. }).then_some(Tables::Bridge);
        let ip = match layer {
            Layer::Ip(family) => Some(Tables::Ip(family)).filter(|_| !tagged || bridge.is_none()),
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

    /// A chain and its rules.
    pub(super) fn chain<'a>(self, ruleset: &'a Ruleset, name: &ChainName) -> Option<(&'a ChainName, ChainRules<'a>)> {
        match self {
            Tables::Bridge => {
                ruleset.bridge.get_key_value(name).map(|(name, chain)| (name, ChainRules::Bridge(chain.rules())))
            }
            Tables::Ip(family) => {
                ruleset.filter[family].get_key_value(name).map(|(name, chain)| (name, ChainRules::Ip(chain.rules())))
            }
        }
    }

    /// The rules of a chain; none if it does not exist.
    fn rules<'a>(self, ruleset: &'a Ruleset, name: &ChainName) -> ChainRules<'a> {
        self.chain(ruleset, name).map_or(ChainRules::Ip(&[]), |(_, rules)| rules)
    }

    /// The chains that a hook's built-in chain jumps to, in order.
    pub(super) fn entries(hop: &Hop) -> impl Iterator<Item = ChainName> {
        let failsafe = matches!(hop, Hop::Input { .. } | Hop::Output { .. }).then(|| names::FAILSAFE.into());
        failsafe.into_iter().chain([names::entry(hop.hook())])
    }

    /// The names of all chains.
    pub(super) fn names(self, ruleset: &Ruleset) -> impl Iterator<Item = &ChainName> {
        let (bridge, ip) = match self {
            Tables::Bridge => (Some(ruleset.bridge.keys()), None),
            Tables::Ip(family) => (None, Some(ruleset.filter[family].keys())),
        };
        bridge.into_iter().flatten().chain(ip.into_iter().flatten())
    }
}

/// The rules of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) enum ChainRules<'a> {
    Bridge(&'a [BridgeRule]),
    Ip(&'a [Rule]),
}

impl<'a> ChainRules<'a> {
    fn get(self, index: usize) -> Option<AnyRule<'a>> {
        match self {
            ChainRules::Bridge(rules) => rules.get(index).map(AnyRule::Bridge),
            ChainRules::Ip(rules) => rules.get(index).map(AnyRule::Ip),
        }
    }

    /// The rules, first to last.
    pub(super) fn iter(self) -> impl Iterator<Item = AnyRule<'a>> {
        (0..).map_while(move |index| self.get(index))
    }

    /// Whether both are the same rules in memory.
    pub(super) fn is_identical(self, other: Self) -> bool {
        match (self, other) {
            (ChainRules::Bridge(one), ChainRules::Bridge(other)) => std::ptr::eq(one, other),
            (ChainRules::Ip(one), ChainRules::Ip(other)) => std::ptr::eq(one, other),
            (ChainRules::Bridge(_), ChainRules::Ip(_)) | (ChainRules::Ip(_), ChainRules::Bridge(_)) => false,
        }
    }

    /// Whether a rule rejects packets with a reply.
    fn rejects(self) -> bool {
        matches!(self, ChainRules::Ip(rules) if rules.iter().any(|rule| matches!(rule.target, Target::Reject(_))))
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

impl Step<'_> {
    /// The rule as a line of its tool: `-A CHAIN MATCH TARGET`.
    #[must_use]
    pub fn line(&self) -> String {
        match self.rule {
            AnyRule::Ip(rule) => rule.line(self.chain),
            AnyRule::Bridge(rule) => rule.line(self.chain, MacStyle::Padded),
        }
    }
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

impl Decision<'_> {
    /// Whether another rule than the cause gave the verdict.
    #[must_use]
    pub fn is_executed_elsewhere(&self) -> bool {
        self.cause.chain != self.rule.chain
    }
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
struct CallFrame<'a> {
    chain: &'a ChainName,
    rules: ChainRules<'a>,
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
    Execute,
    /// To execute a decision without returning (`-g`).
    Goto,
}

/// Evaluates the rules of a hook, beginning with the chain that its built-in chain jumps to (`-A INPUT -j PVEFW-INPUT`).
pub(super) fn walk<'a>(tables: Tables, ruleset: &'a Ruleset, at: &mut EvalContext<'_>) -> Walk<'a> {
    let mut walk = Walk { tables, steps: Vec::new(), verdict: Verdict::Accept, decision: None };
    let entered = Tables::entries(at.hop).filter_map(|name| tables.chain(ruleset, &name));
    let mut frames: Vec<CallFrame<'a>> =
        entered.map(|(chain, rules)| CallFrame { chain, rules, next: 0, depth: 0, callers: Vec::new() }).collect();
    // the first one is on top
    frames.reverse();
    while let Some(frame) = frames.last_mut() {
        let Some(rule) = frame.rules.get(frame.next) else {
            walk.leave(frames.pop());
            continue;
        };
        frame.next += 1;
        let step = Step { depth: frame.depth, chain: frame.chain, rule, matched: rule.matches(at) };
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
                let rules = tables.rules(ruleset, to);
                let how = if rules.rejects() { Call::Execute } else { Call::Jump };
                let below = frame.below((to, rules), step, how);
                frames.push(below);
            }
            Effect::Goto(to) => *frame = frame.below((to, tables.rules(ruleset, to)), step, Call::Goto),
        }
    }
    walk
}

impl<'a> CallFrame<'a> {
    fn below(&self, (chain, rules): (&'a ChainName, ChainRules<'a>), step: Step<'a>, how: Call) -> Self {
        let callers = self.callers.iter().cloned().chain([Caller { step, how }]).collect();
        let depth = self.depth + usize::from(how != Call::Goto);
        CallFrame { chain, rules, next: 0, depth, callers }
    }
}

impl<'a> Walk<'a> {
    /// Records a terminating rule. A rule that matches the mark executes the decision of the rule that set it.
    fn decide(&mut self, rule: Step<'a>, callers: &[Caller<'a>]) {
        if rule.rule.matches_mark() && self.decision.is_some() {
            return;
        }
        let executions = callers.iter().rev().take_while(|caller| caller.how != Call::Jump).count();
        let (led, sent) = callers.split_at(callers.len() - executions);
        let cause = sent.first().map_or(rule, |caller| caller.step);
        let callers = led.iter().map(|caller| caller.step).collect();
        self.decision = Some(Decision { cause, rule, callers });
    }

    /// Ends a chain. After a goto, this acts like a RETURN in its caller.
    fn leave(&mut self, frame: Option<CallFrame<'a>>) {
        if let Some(mut frame) = frame
            && frame.callers.last().is_some_and(|caller| caller.how == Call::Goto)
            && let Some(caller) = frame.callers.pop()
        {
            self.decide(caller.step, &frame.callers);
        }
    }
}
