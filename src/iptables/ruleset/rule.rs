//! A rule: matches, a target, and an origin.
use super::match_list::MatchList;
use super::matches::Match;
use super::names::{ChainName, SetName};
use super::target::Target;
use super::write_helpers::{put, string};
use crate::model::Origin;
use std::fmt::{self, Write};

/// A rule of an iptables chain. A large node has a hundred thousand, so the type must be small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The matches, in the order of the text.
    pub matches: MatchList,
    /// The target.
    pub target: Target,
    /// Whether the chain name is followed by two blanks, `-A CHAIN  -j DROP`, as in pve-firewall for some rules without a
    /// match; signatures depend on it.
    pub double_space: bool,
    /// The origin of the rule.
    pub origin: Origin,
}

impl Rule {
    /// The rule as a line of a restore script.
    #[must_use]
    pub fn line(&self, chain: &ChainName) -> String {
        string(|out| self.put(chain, out))
    }

    /// The number of rules in the kernel: one for each pair of a source and a destination address.
    #[must_use]
    pub fn expanded(&self) -> usize {
        let addresses = self.matches.iter().filter_map(|one| match one {
            Match::Address(_, list) => Some(list.value.len()),
            _ => None,
        });
        addresses.product()
    }

    /// The sets that it uses.
    pub fn sets(&self) -> impl Iterator<Item = &SetName> {
        self.matches.iter().filter_map(|one| match one {
            Match::Set { name, .. } => Some(name),
            _ => None,
        })
    }

    /// Writes that line, without its end.
    pub(super) fn put(&self, chain: &ChainName, out: &mut impl Write) -> fmt::Result {
        put(out, &["-A ", chain.as_str(), if self.double_space { " " } else { "" }])?;
        self.matches.iter().try_for_each(|one| one.put(out))?;
        self.target.put(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Interface;

    #[test]
    fn only_double_space_rules_keep_both_blanks() {
        let chain = ChainName::new("X").unwrap();
        let origin = Origin::Generated("test".into());
        let mut rule = Rule { matches: [].into(), target: Target::Drop, double_space: true, origin };
        assert_eq!(rule.line(&chain), "-A X  -j DROP");
        rule.double_space = false;
        assert_eq!(rule.line(&chain), "-A X -j DROP");
        rule.matches = [Match::InInterface(Interface::new("lo").unwrap())].into();
        assert_eq!(rule.line(&chain), "-A X -i lo -j DROP");
    }

    #[test]
    fn rules_are_small() {
        assert!(size_of::<Rule>() <= 80 && size_of::<Match>() <= 32, "{} {}", size_of::<Rule>(), size_of::<Match>());
    }
}
