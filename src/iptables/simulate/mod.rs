//! Simulates a packet: evaluates the compiled rules like the kernel, and records the deciding rule.
//!
//! A packet traverses hooks on its path through the node ([`path_between`]); at each, ebtables (on bridges) and then iptables
//! are evaluated. The table `raw` is not evaluated: it limits floods and assigns helpers, neither of which drops a single
//! packet.

mod changed_rules;
mod eval;
mod trace;
mod walk;

pub use crate::simulate::{End, GuestPort, Hop, Layer, Packet, path_between};
pub use changed_rules::ChangedRules;
pub use eval::{AnyRule, Verdict};
pub use trace::{decide, trace};
pub use walk::{Decision, Step, Tables, Walk};

use crate::iptables::ruleset::{CtState, Ruleset};
use crate::simulate::Sent;
use eval::EvalContext;

/// The result: the path of the packet, up to the hook that refused it.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The verdict.
    pub verdict: Verdict,
    /// The traversed hooks.
    pub hops: Vec<Passage<'a>>,
}

/// A packet at one hook.
#[derive(Debug)]
pub struct Passage<'a> {
    /// The hook.
    pub hop: Hop,
    /// The evaluated tables, in order.
    pub walks: Vec<Walk<'a>>,
}

impl<'a> Answer<'a> {
    /// The decision: by the rule that refused the packet, or by the last one that accepted it; `None` if no rule decided and
    /// the policies of the built-in chains accepted it.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision<'a>> {
        // ebtables accepts all IP packets, which decides nothing
        self.hops.iter().rev().filter_map(|hop| hop.walks.last()).find_map(|walk| walk.decision.as_ref())
    }
}

/// Simulates a packet on its path.
#[must_use]
pub fn simulate<'a>(ruleset: &'a Ruleset, sent: &Sent<'_>) -> Answer<'a> {
    let Sent { packet, from, to, broadcasts } = sent;
    let mut answer = Answer { verdict: Verdict::Accept, hops: Vec::new() };
    let (mut mark, mut state) = (0, packet.state);
    for hop in path_between(from, to) {
        let mut at = EvalContext { ruleset, packet, broadcasts, hop: &hop, state, mark };
        let mut walks = Vec::new();
        for tables in Tables::at(&hop, packet.layer, packet.frame.tagged) {
            let walk = walk::walk(tables, ruleset, &mut at);
            answer.verdict = walk.verdict;
            walks.push(walk);
            if answer.verdict != Verdict::Accept {
                break;
            }
        }
        mark = at.mark;
        if state == Some(CtState::New) && packet.is_its_own_answer() {
            state = Some(CtState::Established);
        }
        answer.hops.push(Passage { hop, walks });
        if answer.verdict != Verdict::Accept {
            break;
        }
    }
    answer
}
