//! The way of a packet as text.
use super::ask::{AnyRule, Verdict};
use super::walk::{Decision, Step, Walk};
use super::{Answer, Passage};
use crate::ruleset::MacStyle;
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

impl fmt::Display for Step<'_> {
    /// The rule under the depth of its chain, with a `+` in front if it matched.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.matched { '+' } else { ' ' };
        write!(f, "{mark} {:indent$}{}", "", self.line(), indent = 2 * self.depth)
    }
}

impl Decision<'_> {
    /// Whether another rule than the cause did it.
    #[must_use]
    pub fn is_carried_out_elsewhere(&self) -> bool {
        self.cause.chain != self.rule.chain
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "decided by: {}", self.cause.rule.origin())?;
        write!(f, "  {}", self.cause.line())?;
        if self.is_carried_out_elsewhere() {
            write!(f, "\n  carried out by {}", self.rule.line())?;
        }
        for caller in self.callers.iter().rev() {
            write!(f, "\n  called by {} ({})", caller.line(), caller.rule.origin())?;
        }
        Ok(())
    }
}

impl fmt::Display for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "    {step}")?;
        }
        let by = if self.decision.is_some() { "" } else { " (no rule decides; the policy of the hook)" };
        writeln!(f, "    {}: {}{by}", self.tables.tool(), self.verdict)
    }
}

impl fmt::Display for Passage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.hop)?;
        for walk in &self.walks {
            writeln!(f, "  {} {}", walk.tables.tool(), self.hop.hook())?;
            walk.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Answer<'_> {
    /// Every hook with every rule that was asked there, and what decided; several lines, each with its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for passage in &self.hops {
            passage.fmt(f)?;
        }
        match self.decision() {
            Some(decision) => writeln!(f, "{decision}")?,
            None => writeln!(f, "decided by: no rule; what no rule of the firewall is about passes")?,
        }
        if let Verdict::Reject(with) = self.verdict {
            writeln!(f, "answered with: {with}")?;
        }
        Ok(())
    }
}
