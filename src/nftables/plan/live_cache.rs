//! The cached live state. Of chains that this process has created and that are unchanged since, it has the rules.
use crate::nftables::live::{Live, LiveChain, LiveSet, LiveTable};
use crate::nftables::names::TableName;
use crate::nftables::ruleset::{Chain, Hook, Signature, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether another program has changed a chain since this process created or accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// It is unchanged.
    No,
    /// Its rules had not been read when another program made a transaction. Its signature and the number of its rules are as
    /// created.
    Possibly,
    /// It was changed.
    Yes,
}

/// A live chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedChain {
    /// The hook of a base chain: its number, and the priority.
    pub hook: Option<(u32, i32)>,
    /// Whether the policy of a base chain is DROP.
    pub drops: bool,
    /// The number of its rules.
    pub rules: usize,
    /// A hash of its live rules; `None` if they have not been read since this process created them.
    pub digest: Option<u64>,
    /// Its signature, if it has one.
    pub signature: Option<Signature>,
    /// The chain as this process created it, if it is certainly unchanged.
    pub created: Option<Arc<Chain>>,
    /// Whether another program has changed it: its signature is then ignored.
    pub edited: Edited,
}

impl CachedChain {
    /// A chain that was read, and not created by this process.
    #[must_use]
    pub fn new(live: &LiveChain) -> Self {
        let LiveChain { hook, drops, rules } = live;
        CachedChain {
            hook: *hook,
            drops: *drops,
            rules: rules.len(),
            digest: Some(live.digest()),
            signature: live.signature(),
            created: None,
            edited: Edited::No,
        }
    }

    /// A chain that this process has created, and whose rules have not been read.
    #[must_use]
    pub fn unread(created: &Arc<Chain>) -> Self {
        CachedChain {
            hook: created.hook().and_then(Hook::numbers),
            drops: false,
            rules: created.rules().len(),
            digest: None,
            signature: Some(created.signature()),
            created: Some(created.clone()),
            edited: Edited::No,
        }
    }

    /// Whether its rules are those of this chain.
    #[must_use]
    pub fn matches(&self, wanted: &Arc<Chain>) -> bool {
        match &self.created {
            Some(created) => Arc::ptr_eq(created, wanted) || created.signature() == wanted.signature(),
            None => self.edited == Edited::No && self.has_signature_of(wanted),
        }
    }

    /// Whether it has the signature and the number of rules of this chain.
    fn has_signature_of(&self, wanted: &Chain) -> bool {
        self.rules == wanted.rules().len() && (self.rules == 0 || self.signature == Some(wanted.signature()))
    }
}

/// A live table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedTable {
    /// Whether it has the flag `dormant`.
    pub dormant: bool,
    /// Its chains.
    pub chains: BTreeMap<String, CachedChain>,
    /// Its sets and maps.
    pub sets: BTreeMap<String, LiveSet>,
    /// Its connection tracking helpers and other objects.
    pub objects: BTreeSet<String>,
    /// The part of a wanted table that the last comparison has found here; it is not compared again.
    pub equal: Table,
}

/// The live tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveCache {
    /// The existing tables.
    pub tables: BTreeMap<TableName, CachedTable>,
    /// Whether there are chains whose rules have not been read since this process created them.
    pub unread: bool,
}

impl LiveCache {
    /// Caches the live state that was read, with the rules of chains that have not changed since `before`. Rules that were not
    /// read before have not changed if there was no other transaction (`no_transaction`) and the signature is as created.
    #[must_use]
    pub fn of(live: Live, before: Option<&LiveCache>, no_transaction: bool) -> Self {
        let mut known = LiveCache::default();
        for (name, table) in live.tables {
            let old = before.and_then(|before| before.tables.get(&name));
            let chain = |(name, live): (String, LiveChain)| {
                let mut chain = CachedChain::new(&live);
                if let Some(old) = old.and_then(|old| old.chains.get(&name)) {
                    let as_created = || old.created.as_ref().is_some_and(|created| chain.has_signature_of(created));
                    chain.edited = match old.digest {
                        Some(_) if old.digest == chain.digest => old.edited,
                        None if !as_created() => Edited::Yes,
                        None if no_transaction => old.edited,
                        None => Edited::Possibly,
                        Some(_) => Edited::Yes,
                    };
                    chain.created = old.created.clone().filter(|_| chain.edited == Edited::No);
                }
                (name, chain)
            };
            let LiveTable { dormant, chains, sets, objects } = table;
            let chains = chains.into_iter().map(chain).collect();
            known.tables.insert(name, CachedTable { dormant, chains, sets, objects, equal: Table::default() });
        }
        known
    }
}
