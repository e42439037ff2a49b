//! What is known of the kernel: what it holds, and which of the chains that this process made are still as they were made.
use crate::nftables::live::{Live, LiveChain, LiveSet};
use crate::nftables::names::TableName;
use crate::nftables::ruleset::{Chain, Signature};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A live chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownChain {
    /// The hook of a base chain: its number, and the priority.
    pub hook: Option<(u32, i32)>,
    /// Whether a base chain drops what no rule decides over.
    pub drops: bool,
    /// How many rules it has.
    pub rules: usize,
    /// What its rules are for the kernel.
    pub digest: u64,
    /// The signature that it has.
    pub signature: Option<Signature>,
    /// What this process made of it, if it is certain that nobody has changed it since.
    pub made: Option<Arc<Chain>>,
    /// Whether somebody has changed it since this process made or accepted it: then its signature says nothing.
    pub edited: bool,
}

impl KnownChain {
    /// A chain of which nothing is known but what was read.
    #[must_use]
    pub fn new(live: &LiveChain) -> Self {
        let LiveChain { hook, drops, rules } = live;
        KnownChain {
            hook: *hook,
            drops: *drops,
            rules: rules.len(),
            digest: live.digest(),
            signature: live.signature(),
            made: None,
            edited: false,
        }
    }

    /// Whether it is this chain.
    #[must_use]
    pub fn is(&self, wanted: &Arc<Chain>) -> bool {
        match &self.made {
            Some(made) => Arc::ptr_eq(made, wanted) || made.signature() == wanted.signature(),
            None if self.edited || self.rules != wanted.rules().len() => false,
            None => self.rules == 0 || self.signature == Some(wanted.signature()),
        }
    }
}

/// A live table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownTable {
    /// Whether its hooks are switched off.
    pub dormant: bool,
    /// Its chains.
    pub chains: BTreeMap<String, KnownChain>,
    /// Its sets and maps.
    pub sets: BTreeMap<String, LiveSet>,
    /// Its connection tracking helpers and other objects.
    pub objects: BTreeSet<String>,
}

/// The live tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that are there.
    pub tables: BTreeMap<TableName, KnownTable>,
}

impl Known {
    /// What was read, with what was known before of chains that have not changed since.
    #[must_use]
    pub fn of(live: Live, before: Option<&Known>) -> Self {
        let mut known = Known::default();
        for (name, table) in live.tables {
            let old = before.and_then(|before| before.tables.get(&name));
            let chain = |(name, live): (String, LiveChain)| {
                let mut chain = KnownChain::new(&live);
                if let Some(old) = old.and_then(|old| old.chains.get(&name)) {
                    let same = old.digest == chain.digest;
                    chain.made = old.made.clone().filter(|_| same);
                    chain.edited = if same { old.edited } else { true };
                }
                (name, chain)
            };
            let chains = table.chains.into_iter().map(chain).collect();
            let table = KnownTable { dormant: table.dormant, chains, sets: table.sets, objects: table.objects };
            known.tables.insert(name, table);
        }
        known
    }
}
