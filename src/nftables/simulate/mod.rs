//! Simulates a packet: evaluates the chains of both tables like the kernel.
//!
//! A packet of a guest passes the guests' table where it enters a bridge (prerouting), is forwarded by it (forward) and leaves
//! it (postrouting), and the host's table where the node receives, sends or routes it.
mod changed_rules;
mod eval;
mod hook_path;
mod trace;
mod walk;

pub use changed_rules::ChangedRules;
pub use eval::Verdict;
pub use hook_path::{At, hooks};
pub use trace::{decide, trace};
pub use walk::{Decision, Step, Walk};

use crate::nftables::ruleset::Ruleset;
use crate::simulate::Sent;
use eval::EvalContext;

/// The result: the base chains that the packet passed, up to the one that refused it.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The verdict.
    pub verdict: Verdict,
    /// The evaluated base chains, in order, each with the hook.
    pub walks: Vec<(At, Walk<'a>)>,
}

impl<'a> Answer<'a> {
    /// The decision: by the rule that refused the packet, or by the last one that accepted it; `None` if no rule decided.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision<'a>> {
        self.walks.iter().rev().find_map(|(_, walk)| walk.decision.as_ref())
    }
}

/// Evaluates a packet at each hook on its path through the node.
#[must_use]
pub fn simulate<'a>(ruleset: &'a Ruleset, sent: &Sent<'_>) -> Answer<'a> {
    let Sent { packet, from, to, broadcasts } = sent;
    let mut answer = Answer { verdict: Verdict::Accept, walks: Vec::new() };
    for at in hooks(from, to, packet.layer) {
        let eval_context = EvalContext { ruleset, packet, broadcasts, at: &at, state: packet.state };
        for chain in eval_context.base_chains() {
            let walk = walk::walk(&eval_context, chain);
            answer.verdict = walk.verdict;
            answer.walks.push((at.clone(), walk));
            if answer.verdict != Verdict::Accept {
                return answer;
            }
        }
    }
    answer
}
