//! What becomes of a packet, and why: the compiled rules are asked as the kernel asks them.
//!
//! A packet meets hooks on its way through the node ([`way`]); at each, ebtables (on bridges) and then iptables decide. The
//! table `raw` is not asked: it limits floods and gives connections helpers, and neither stops a single packet.

mod eval;
mod packet;
mod path;
mod show;
mod walk;

pub use eval::{AnyRule, Verdict};
pub use packet::{Layer, Packet};
pub use path::{End, GuestPort, Hop, way};
pub use walk::{Decision, Step, Tables, Walk};

use crate::iptables::ruleset::{CtState, Ruleset};
use eval::Situation;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What is asked of a ruleset.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The compiled rules.
    pub ruleset: &'a Ruleset,
    /// The packet.
    pub packet: &'a Packet,
    /// Where it comes from.
    pub from: End,
    /// Where it goes to.
    pub to: End,
    /// The broadcast addresses of the node's networks. 255.255.255.255 and 0.0.0.0 need no mention.
    pub broadcasts: BTreeSet<Ipv4Addr>,
}

/// The answer: the way that the packet took, up to where it was stopped.
#[derive(Debug)]
pub struct Answer<'a> {
    /// What becomes of it.
    pub verdict: Verdict,
    /// The hooks that it met.
    pub hops: Vec<Passage<'a>>,
}

/// A packet at one hook.
#[derive(Debug)]
pub struct Passage<'a> {
    /// The hook.
    pub hop: Hop,
    /// The tables that were asked there, in order.
    pub walks: Vec<Walk<'a>>,
}

impl<'a> Answer<'a> {
    /// What decided: the rule that stopped the packet, or the last one that let it pass; `None` where no rule had an
    /// opinion, and the hooks' own policy let it pass.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision<'a>> {
        // ebtables lets IP packets pass to iptables, which is no opinion
        self.hops.iter().rev().filter_map(|hop| hop.walks.last()).find_map(|walk| walk.decision.as_ref())
    }
}

/// Follows a packet on its way.
#[must_use]
pub fn simulate<'a>(question: &Question<'a>) -> Answer<'a> {
    let mut answer = Answer { verdict: Verdict::Accept, hops: Vec::new() };
    let (mut mark, mut state) = (0, question.packet.state);
    for hop in way(&question.from, &question.to) {
        let mut at = Situation {
            ruleset: question.ruleset,
            packet: question.packet,
            broadcasts: &question.broadcasts,
            hop: &hop,
            state,
            mark,
        };
        let mut walks = Vec::new();
        for tables in Tables::at(&hop, question.packet.layer) {
            let walk = walk::walk(tables, question.ruleset, &mut at);
            answer.verdict = walk.verdict;
            walks.push(walk);
            if answer.verdict != Verdict::Accept {
                break;
            }
        }
        mark = at.mark;
        if state == Some(CtState::New) && question.packet.is_its_own_answer() {
            state = Some(CtState::Established);
        }
        answer.hops.push(Passage { hop, walks });
        if answer.verdict != Verdict::Accept {
            break;
        }
    }
    answer
}
