//! Chains; `declaration_text` renders hooks.
use super::matches::Match;
use super::rule::Rule;
use super::signature::Signature;
use crate::nftables::names::Name;
use std::sync::OnceLock;

/// The hook of a base chain. The policy is always accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `prerouting`, `input`, `forward`, `output` or `postrouting`.
    pub name: &'static str,
    /// The priority: lower ones are evaluated first. In the family inet, `filter` is 0 and `raw` -300.
    pub priority: i32,
}

impl Hook {
    /// The number of the hook (`NF_INET_PRE_ROUTING`, …), and the priority.
    #[must_use]
    pub fn numbers(self) -> Option<(u32, i32)> {
        let names = ["prerouting", "input", "forward", "output", "postrouting"];
        let at = names.iter().position(|name| *name == self.name)?;
        Some((u32::try_from(at).ok()?, self.priority))
    }
}

/// A chain. Immutable, so that it can be shared and cache its signature.
#[derive(Debug)]
pub struct Chain {
    hook: Option<Hook>,
    rules: Box<[Rule]>,
    signature: OnceLock<Signature>,
}

impl Clone for Chain {
    fn clone(&self) -> Self {
        Chain::new(self.hook, self.rules.clone())
    }
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        (self.hook, &self.rules) == (other.hook, &other.rules)
    }
}

impl Eq for Chain {}

impl Chain {
    /// A chain of these rules; a base chain with a hook.
    #[must_use]
    pub fn new(hook: Option<Hook>, rules: impl Into<Box<[Rule]>>) -> Self {
        Chain { hook, rules: rules.into(), signature: OnceLock::new() }
    }

    /// The hook of a base chain.
    #[must_use]
    pub fn hook(&self) -> Option<Hook> {
        self.hook
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The signature of the text of its rules, including comments.
    #[must_use]
    pub fn signature(&self) -> Signature {
        *self.signature.get_or_init(|| Signature::of(self.rules.iter().map(Rule::text)))
    }

    /// The target chains of the jumps and gotos in its rules.
    pub fn targets(&self) -> impl Iterator<Item = &Name> {
        self.rules.iter().filter_map(|rule| rule.action.target())
    }

    /// The sets that its rules use.
    pub fn sets(&self) -> impl Iterator<Item = &Name> {
        self.rules.iter().flat_map(|rule| rule.matches.iter().filter_map(Match::set))
    }
}
