//! Chains: their rules in order, and their signatures.
use super::bridge::{BridgeRule, MacStyle};
use super::names::{ChainName, SetName};
use super::rule::Rule;
use super::signature::{CachedSignature, Signature};
use std::collections::BTreeSet;

/// A chain of an iptables table. Immutable, so that it can be shared, compared cheaply, and cache its signature.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    rules: Box<[Rule]>,
    expanded: usize,
    signature: CachedSignature<ChainName>,
}

impl Chain {
    /// A chain of these rules, first to last.
    #[must_use]
    pub fn new(rules: impl Into<Box<[Rule]>>) -> Self {
        let rules = rules.into();
        Chain { expanded: rules.iter().map(Rule::expanded).sum(), rules, signature: CachedSignature::default() }
    }

    /// The rules, first to last.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The number of rules in the kernel.
    #[must_use]
    pub fn expanded(&self) -> usize {
        self.expanded
    }

    /// The rules as `-A NAME …` lines, without the signature.
    pub fn lines<'a>(&'a self, name: &'a ChainName) -> impl Iterator<Item = String> + 'a {
        self.rules.iter().map(move |rule| rule.line(name))
    }

    /// The sets that its rules use.
    pub fn sets(&self) -> impl Iterator<Item = &SetName> {
        self.rules.iter().flat_map(Rule::sets)
    }

    /// Whether a rule uses one of these sets.
    #[must_use]
    pub fn uses_one_of(&self, sets: &BTreeSet<SetName>) -> bool {
        self.sets().any(|name| sets.contains(name))
    }

    /// The signature of the chain with this name.
    #[must_use]
    pub fn signature(&self, name: &ChainName) -> Signature {
        let make = || Signature::of_text(|out| self.rules.iter().try_for_each(|rule| rule.put(name, out)));
        self.signature.get(name, make)
    }
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for Chain {}

/// An ebtables chain. Immutable.
#[derive(Clone, Debug, Default)]
pub struct BridgeChain {
    rules: Box<[BridgeRule]>,
    short: CachedSignature<ChainName>,
    padded: CachedSignature<ChainName>,
}

impl BridgeChain {
    /// A chain of these rules, first to last.
    #[must_use]
    pub fn new(rules: impl Into<Box<[BridgeRule]>>) -> Self {
        BridgeChain { rules: rules.into(), short: CachedSignature::default(), padded: CachedSignature::default() }
    }

    /// The rules, first to last.
    #[must_use]
    pub fn rules(&self) -> &[BridgeRule] {
        &self.rules
    }

    /// The rules as `-A NAME …` lines, in the format of an ebtables variant.
    pub fn lines<'a>(&'a self, name: &'a ChainName, style: MacStyle) -> impl Iterator<Item = String> + 'a {
        self.rules.iter().map(move |rule| rule.line(name, style))
    }

    /// The signature of the chain with this name, in the format of an ebtables variant.
    #[must_use]
    pub fn signature(&self, name: &ChainName, style: MacStyle) -> Signature {
        let remembered = match style {
            MacStyle::Short => &self.short,
            MacStyle::Padded => &self.padded,
        };
        let make = || Signature::of_text(|out| self.rules.iter().try_for_each(|rule| rule.put(name, style, out)));
        remembered.get(name, make)
    }
}

impl PartialEq for BridgeChain {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for BridgeChain {}
