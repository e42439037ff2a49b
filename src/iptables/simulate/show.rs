//! Rules and verdicts as text.
use super::eval::{AnyRule, Verdict};
use super::walk::{Decision, Step};
use crate::iptables::ruleset::MacStyle;
use std::fmt;

impl fmt::Display for Verdict {
    /// `ACCEPT`, `DROP` or `REJECT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
            Verdict::Reject(_) => "REJECT",
        })
    }
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

impl Decision<'_> {
    /// Whether another rule than the cause gave the verdict.
    #[must_use]
    pub fn is_carried_out_elsewhere(&self) -> bool {
        self.cause.chain != self.rule.chain
    }
}
