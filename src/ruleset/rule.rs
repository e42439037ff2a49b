//! A rule: matches, a target, and where it comes from.
use super::matches::Match;
use super::names::ChainName;
use super::target::Target;
use std::fmt;
use std::sync::Arc;

/// Where a rule comes from, for reports and explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    Line(Arc<str>, u32),
    /// No line made it: what did, in words, such as `default policy_in of 100.fw`.
    Made(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line(file, line) => write!(f, "{file}:{line}"),
            Origin::Made(what) => f.write_str(what),
        }
    }
}

/// A rule of an iptables chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What must hold for a packet, in writing order.
    pub matches: Vec<Match>,
    /// What happens to it then.
    pub target: Target,
    /// Whether a second blank follows the chain, as on both sides of an empty match, `-A CHAIN  -j DROP`: signatures
    /// cover it.
    pub wide: bool,
    /// Where the rule comes from.
    pub origin: Origin,
}

impl Rule {
    /// The rule as a line of a restore script.
    #[must_use]
    pub fn line(&self, chain: &ChainName) -> String {
        use fmt::Write;
        let mut line = format!("-A {chain}");
        let mut put = |part: &dyn fmt::Display| write!(line, " {part}").unwrap_or(());
        if self.wide {
            put(&"");
        }
        for one in &self.matches {
            put(one);
        }
        put(&self.target);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Interface;

    #[test]
    fn only_wide_rules_keep_both_blanks() {
        let chain = ChainName::new("X").unwrap();
        let origin = Origin::Made("test".into());
        let mut rule = Rule { matches: vec![], target: Target::Drop, wide: true, origin };
        assert_eq!(rule.line(&chain), "-A X  -j DROP");
        rule.wide = false;
        assert_eq!(rule.line(&chain), "-A X -j DROP");
        rule.matches.push(Match::InInterface(Interface::new("lo").unwrap()));
        assert_eq!(rule.line(&chain), "-A X -i lo -j DROP");
    }
}
