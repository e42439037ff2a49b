//! The result of a simulator, the same for both backends: the verdict, the deciding rule, and every evaluated rule.
use super::{End, Packet};
use crate::model::{Origin, Verdict};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// A packet on its path.
#[derive(Clone, Debug)]
pub struct Sent<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// Its source.
    pub from: End,
    /// Its destination.
    pub to: End,
    /// The broadcast addresses of the node's networks, without 255.255.255.255 and 0.0.0.0.
    pub broadcasts: &'a BTreeSet<Ipv4Addr>,
}

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The verdict.
    pub verdict: Verdict,
    /// The origin of the rule that decided; `None` if no rule did, so that the packet is accepted.
    pub origin: Option<Origin>,
}

/// An evaluated rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedRule {
    /// The rule in the syntax of its tool, with its chain.
    pub line: String,
    /// Its origin.
    pub origin: Origin,
    /// The number of jumps to its chain.
    pub depth: usize,
    /// Whether it matched.
    pub matched: bool,
}

/// The rules of one tool or base chain, evaluated at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedTable {
    /// `iptables`, `ip6tables`, `ebtables` or `nft`.
    pub tool: &'static str,
    /// The hook, as the tool names it.
    pub hook: String,
    /// The evaluated rules, in order.
    pub rules: Vec<TracedRule>,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether a rule decided, or else the policy of the chain at the hook.
    pub decided: bool,
}

/// A place on the path of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedHop {
    /// The place, such as `host, input on vmbr0`.
    pub place: String,
    /// The tables evaluated there, in order.
    pub tables: Vec<TracedTable>,
}

/// The decision on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedDecision {
    /// The rule that caused it.
    pub cause: TracedRule,
    /// The rule that gave the verdict, which may be the cause itself.
    pub rule: TracedRule,
    /// Whether the rule that gave the verdict is in another chain than the cause.
    pub elsewhere: bool,
    /// The rules that jumped to the chain of the cause, outermost first.
    pub callers: Vec<TracedRule>,
}

/// The result for a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The verdict.
    pub verdict: Verdict,
    /// The reply to a rejected packet, as the tool names it.
    pub answered_with: Option<String>,
    /// The decision: by the rule that refused the packet, or by the last one that accepted it; `None` if no rule decided.
    pub decision: Option<TracedDecision>,
    /// The path, up to where the packet was refused.
    pub hops: Vec<TracedHop>,
    /// Notes on effects that are not simulated.
    pub notes: Vec<&'static str>,
}
