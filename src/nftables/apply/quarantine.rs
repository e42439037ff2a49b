//! Rules that the kernel refuses, and how long they are left out.
use super::bisect::RefusedRule;
use crate::nftables::names::{Name, TableName};
use crate::nftables::plan::LiveCache;
use crate::nftables::ruleset::{Action, Chain, Ruleset, Signature, Table};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time after which a refused rule is tried again, even if its chain has not changed.
const RETRY: Duration = Duration::from_secs(300);

/// The refused rules of one chain.
#[derive(Clone, Debug)]
struct Refusal {
    /// The signature of the chain with all its rules: when it changes, all are tried again.
    signature: Signature,
    /// The refused rules by their index in the chain with all its rules, with the reasons.
    reasons: BTreeMap<usize, String>,
    /// Whether the chain was live and keeps its live rules, because one of the refused rules drops or rejects packets.
    keeps: bool,
    /// One error text for each refused rule.
    texts: Vec<String>,
    /// When this expires.
    until: Instant,
}

/// The known refused rules, by table and chain.
#[derive(Clone, Debug, Default)]
pub struct Quarantine(BTreeMap<(TableName, Name), Refusal>);

impl Quarantine {
    /// Whether there are no refused rules.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether rules of a chain are refused.
    pub fn contains_chain(&self, table: TableName, chain: &str) -> bool {
        self.0.keys().any(|(of, name)| *of == table && name.as_str() == chain)
    }

    /// Removes entries of changed chains, and expired entries.
    pub fn remove_outdated(&mut self, wanted: &Ruleset) {
        let now = Instant::now();
        self.0.retain(|(table, name), refusal| {
            let chain = wanted.tables.get(table).and_then(|table| table.chains.get(name));
            refusal.until > now && chain.is_some_and(|chain| chain.signature() == refusal.signature)
        });
    }

    /// Records refused rules, given by their index in `accepted`.
    pub fn record(&mut self, wanted: &Ruleset, accepted: &Ruleset, known: &LiveCache, refused: Vec<RefusedRule>) {
        let before = self.clone();
        for (table, name, at, reason) in refused {
            let chain = |ruleset: &Ruleset| {
                let found = ruleset.tables.get(&table)?.chains.get_key_value(name.as_str());
                found.map(|(name, chain)| (name.clone(), chain.clone()))
            };
            let (Some((name, all)), Some(_)) = (chain(wanted), chain(accepted)) else { continue };
            let live = known.tables.get(&table).is_some_and(|table| table.chains.contains_key(name.as_str()));
            let key = (table, name.clone());
            let left_out = |at: &usize| before.0.get(&key).is_some_and(|old| old.reasons.contains_key(at));
            let Some(at) = (0..all.rules().len()).filter(|at| !left_out(at)).nth(at) else { continue };
            let fresh = || Refusal {
                signature: all.signature(),
                reasons: BTreeMap::new(),
                keeps: false,
                texts: Vec::new(),
                until: Instant::now() + RETRY,
            };
            let refusal = self.0.entry(key).or_insert_with(fresh);
            refusal.keeps |= live && is_restrictive(&all.rules()[at].action);
            refusal.reasons.insert(at, reason);
            refusal.texts = refusal.reasons.iter().map(|(at, reason)| text(&all, &name, *at, reason)).collect();
        }
    }

    /// The ruleset without refused rules; chains that keep their live rules are in [`Ruleset::kept_chains`].
    pub fn accepted<'a>(&self, wanted: &'a Arc<Ruleset>) -> Cow<'a, Ruleset> {
        if self.0.is_empty() {
            return Cow::Borrowed(wanted);
        }
        let mut accepted = Ruleset::clone(wanted);
        for ((table, name), refusal) in &self.0 {
            let Some(chain) = accepted.tables.get_mut(table).and_then(|table| table.chains.get_mut(name)) else {
                continue;
            };
            *chain = without(chain, &refusal.reasons);
            if refusal.keeps {
                accepted.kept_chains.insert((*table, name.clone()));
            }
        }
        // the kernel may refuse the helper itself
        accepted.tables.values_mut().for_each(Table::remove_unused_helpers);
        Cow::Owned(accepted)
    }

    /// One error text for each refused rule.
    pub fn errors(&self) -> impl Iterator<Item = String> + '_ {
        self.0.values().flat_map(|refusal| {
            let end = if refusal.keeps { "the chain keeps its live rules until this is fixed" } else { "left out" };
            refusal.texts.iter().map(move |text| format!("{text}; {end}"))
        })
    }
}

fn without(chain: &Chain, left_out: &BTreeMap<usize, String>) -> Arc<Chain> {
    let rules = chain.rules().iter().enumerate().filter(|(at, _)| !left_out.contains_key(at));
    Arc::new(Chain::new(chain.hook(), rules.map(|(_, rule)| rule.clone()).collect::<Vec<_>>()))
}

fn text(chain: &Chain, name: &Name, at: usize, reason: &str) -> String {
    let rule = &chain.rules()[at];
    format!("{}: a rule of chain {name} is refused: {reason}: {}", rule.origin, rule.text())
}

/// Whether leaving out a rule with this action could let more packets pass.
fn is_restrictive(action: &Action) -> bool {
    match action {
        Action::Accept
        | Action::Return
        | Action::Log(_)
        | Action::CtMark(_)
        | Action::CtHelper(_)
        | Action::Queue(..) => false,
        Action::Drop
        | Action::Jump(_)
        | Action::Goto(_)
        | Action::Reject(_)
        | Action::DropAbove { .. }
        | Action::VerdictMap(..) => true,
    }
}
