//! Walking through the chains of one hook, rule by rule.
use super::ask::{AnyRule, Effect, Situation, Verdict};
use super::packet::Layer;
use super::way::Hop;
use crate::ruleset::{ChainName, Family, Ruleset};

/// The tables that decide at a hook: the table `filter` of one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// ebtables.
    Bridge,
    /// iptables or ip6tables.
    Ip(Family),
}

impl Tables {
    /// Those that a packet meets at a hook, in order. Bridges ask ebtables first (`NF_BR_PRI_FILTER_BRIDGED`).
    pub(super) fn at(hop: &Hop, layer: Layer) -> Vec<Self> {
        let bridge = matches!(hop, Hop::Bridge { .. }).then_some(Tables::Bridge);
        let ip = match layer {
            Layer::Ip(family) => Some(Tables::Ip(family)),
            Layer::Arp => None,
        };
        bridge.into_iter().chain(ip).collect()
    }

    /// The tool that shows these rules.
    #[must_use]
    pub fn tool(self) -> &'static str {
        match self {
            Tables::Bridge => "ebtables",
            Tables::Ip(Family::V4) => "iptables",
            Tables::Ip(Family::V6) => "ip6tables",
        }
    }

    fn rule<'a>(self, ruleset: &'a Ruleset, chain: &ChainName, index: usize) -> Option<(&'a ChainName, AnyRule<'a>)> {
        match self {
            Tables::Bridge => {
                let (name, chain) = ruleset.bridge.get_key_value(chain)?;
                Some((name, AnyRule::Bridge(chain.rules.get(index)?)))
            }
            Tables::Ip(family) => {
                let (name, chain) = ruleset.filter[family].get_key_value(chain)?;
                Some((name, AnyRule::Ip(chain.rules.get(index)?)))
            }
        }
    }
}

/// A rule that was asked.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// How many chains have been jumped into on the way to its own.
    pub depth: usize,
    /// Its chain.
    pub chain: &'a ChainName,
    /// The rule.
    pub rule: AnyRule<'a>,
    /// Whether it matched.
    pub matched: bool,
}

/// What decided over a packet at a hook.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The rule that decided.
    pub rule: Step<'a>,
    /// The rules that led into its chain, the outermost first.
    pub callers: Vec<Step<'a>>,
}

/// The walk of a packet through the tables of one hook.
#[derive(Debug)]
pub struct Walk<'a> {
    /// Whose tables.
    pub tables: Tables,
    /// The rules that were asked, in order.
    pub steps: Vec<Step<'a>>,
    /// What became of the packet.
    pub verdict: Verdict,
    /// What decided; `None` if all rules left it to the hook's own policy.
    pub decision: Option<Decision<'a>>,
}

/// A chain under way.
struct Frame<'a> {
    chain: ChainName,
    next: usize,
    depth: usize,
    callers: Vec<Step<'a>>,
    /// Whether the last of the callers entered it for good.
    for_good: bool,
}

/// Asks the rules of a hook, beginning with the chain that its own one leads to (`-A INPUT -j PVEFW-INPUT`).
pub(super) fn walk<'a>(tables: Tables, ruleset: &'a Ruleset, at: &mut Situation<'_>) -> Walk<'a> {
    let mut walk = Walk { tables, steps: Vec::new(), verdict: Verdict::Accept, decision: None };
    let Some(entry) = ChainName::new(&format!("PVEFW-{}", at.hop.hook())) else { return walk };
    let mut frames = vec![Frame { chain: entry, next: 0, depth: 0, callers: Vec::new(), for_good: false }];
    while let Some(frame) = frames.last_mut() {
        let Some((chain, rule)) = tables.rule(ruleset, &frame.chain, frame.next) else {
            // a chain entered for good says by its end what a RETURN says
            if let Some(mut frame) = frames.pop()
                && frame.for_good
                && let Some(rule) = frame.callers.pop()
            {
                walk.decision = Some(Decision { rule, callers: frame.callers });
            }
            continue;
        };
        frame.next += 1;
        let step = Step { depth: frame.depth, chain, rule, matched: rule.matches(at) };
        walk.steps.push(step);
        if !step.matched {
            continue;
        }
        let callers = frame.callers.clone();
        match rule.effect(at) {
            Effect::Continue => {}
            Effect::Return => {
                frames.pop();
                walk.decide(step, callers);
            }
            Effect::Final(verdict) => {
                walk.verdict = verdict;
                walk.decide(step, callers);
                return walk;
            }
            Effect::Jump(to) => {
                let frame = Frame::below(frame.depth + 1, to, callers, step, false);
                frames.push(frame);
            }
            Effect::Goto(to) => *frame = Frame::below(frame.depth, to, callers, step, true),
        }
    }
    walk
}

impl<'a> Frame<'a> {
    fn below(depth: usize, chain: &ChainName, mut callers: Vec<Step<'a>>, caller: Step<'a>, for_good: bool) -> Self {
        callers.push(caller);
        Frame { chain: chain.clone(), next: 0, depth, callers, for_good }
    }
}

impl<'a> Walk<'a> {
    /// A rule that asks for the mark carries out what the rule that set it has decided.
    fn decide(&mut self, rule: Step<'a>, callers: Vec<Step<'a>>) {
        if !(rule.rule.asks_for_mark() && self.decision.is_some()) {
            self.decision = Some(Decision { rule, callers });
        }
    }
}
