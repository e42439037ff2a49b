//! Rules that the tools refuse, and how long they are left out.
use super::UpdateError;
use super::bisectable_chain::{BisectableChain, RefusedRule};
use crate::iptables::plan::{Live, LiveTable, Part, TableName};
use crate::iptables::ruleset::{ChainName, Chains, Ruleset, Signature};
use crate::model::Family;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time after which a refused rule is tried again, even if its chain has not changed.
const RETRY: Duration = Duration::from_secs(300);

/// The refused rules of one chain.
#[derive(Clone, Debug)]
struct Refusal {
    /// The signature of the chain with all its rules: when it changes, all are tried again.
    signature: Signature,
    /// The refused rules by index, with the reasons.
    reasons: BTreeMap<usize, String>,
    /// One error text for each refused rule.
    texts: Vec<String>,
    /// Whether the chain was live and keeps its live rules, because one of the refused rules drops or rejects packets.
    keeps: bool,
    /// Whether a rule uses a set that may not have been live, which could be the reason for the refusal.
    sets_unknown: bool,
    /// When this expires.
    until: Instant,
}

/// How long a refusal is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheTime {
    /// In this update only.
    ThisUpdate,
    /// For some minutes.
    Minutes,
    /// The same, but at most until the sets can be read again.
    UntilSetsAreRead,
}

/// The known refused rules, by part and chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(BTreeMap<(Part, ChainName), Refusal>);

impl Refusals {
    /// Removes entries of changed chains, and expired entries.
    pub fn remove_outdated(&mut self, wanted: &Ruleset, live: &Live) {
        let now = Instant::now();
        self.0.retain(|(part, name), refusal| {
            let signature = match part {
                Part::Table(table, family) => wanted.table(*table, *family).get(name).map(|chain| chain.sign(name)),
                Part::Bridge => wanted.bridge.get(name).map(|chain| chain.sign(name)),
                Part::Sets => None,
            };
            let sets_known_now = refusal.sets_unknown && live.sets.is_ok();
            refusal.until > now && signature == Some(refusal.signature) && !sets_known_now
        });
    }

    /// Whether there are no refused rules.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the entries of some parts.
    pub fn split_off(&mut self, of_these: impl Fn(Part) -> bool) -> Self {
        let (off, rest) = std::mem::take(&mut self.0).into_iter().partition(|((part, _), _)| of_these(*part));
        self.0 = rest;
        Refusals(off)
    }

    /// Adds the entries of another value.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Records refused rules of a chain.
    pub fn record<R: BisectableChain>(
        &mut self,
        part: Part,
        wanted: &Chains<R>,
        live: &LiveTable,
        found: impl IntoIterator<Item = (ChainName, usize, String)>,
        cache_time: CacheTime,
    ) {
        let until = if cache_time == CacheTime::ThisUpdate { Instant::now() } else { Instant::now() + RETRY };
        for (name, at, reason) in found {
            let Some(chain) = wanted.get(&name).filter(|chain| at < chain.count()) else { continue };
            let fresh = || Refusal {
                signature: chain.sign(&name),
                reasons: BTreeMap::new(),
                texts: Vec::new(),
                keeps: false,
                sets_unknown: false,
                until,
            };
            let refusal = self.0.entry((part, name.clone())).or_insert_with(fresh);
            refusal.until = refusal.until.min(until);
            refusal.sets_unknown |= cache_time == CacheTime::UntilSetsAreRead;
            refusal.keeps |= chain.is_restrictive(&name, at) && live.chains.contains_key(&name);
            refusal.reasons.insert(at, reason);
            refusal.texts = refusal.reasons.iter().map(|(at, reason)| text(&**chain, &name, *at, reason)).collect();
        }
    }

    /// The original indices of the rules in [`Refusals::accepted_in`].
    pub fn original_indices(&self, part: Part, found: Vec<RefusedRule>) -> Vec<RefusedRule> {
        let place = |(name, at, reason): RefusedRule| {
            let left_out = self.0.get(&(part, name.clone())).map(|refusal| &refusal.reasons);
            let mut stays = (0..).filter(|at| left_out.is_none_or(|left_out| !left_out.contains_key(at)));
            let original = stays.nth(at).unwrap_or(at);
            (name, original, reason)
        };
        found.into_iter().map(place).collect()
    }

    /// The chains of a part that keep their live rules.
    pub fn kept(&self, part: Part) -> BTreeSet<ChainName> {
        self.0
            .iter()
            .filter(|((of, _), refusal)| *of == part && refusal.keeps)
            .map(|((_, name), _)| name.clone())
            .collect()
    }

    /// The chains of a part without refused rules.
    pub fn accepted_in<'a, R: BisectableChain>(&self, part: Part, wanted: &'a Chains<R>) -> Cow<'a, Chains<R>> {
        let mut accepted = Cow::Borrowed(wanted);
        for ((_, name), refusal) in self.0.iter().filter(|((of, _), _)| *of == part) {
            if let Some(chain) = wanted.get(name) {
                accepted.to_mut().insert(name.clone(), Arc::new(chain.without(&refusal.reasons)));
            }
        }
        accepted
    }

    /// The ruleset without refused rules.
    pub fn accepted<'a>(&self, wanted: &'a Ruleset) -> Cow<'a, Ruleset> {
        if self.0.is_empty() {
            return Cow::Borrowed(wanted);
        }
        let mut accepted = wanted.clone();
        for family in Family::ALL {
            let part = |table| Part::Table(table, family);
            accepted.filter[family] = self.accepted_in(part(TableName::Filter), &wanted.filter[family]).into_owned();
            accepted.raw[family] = self.accepted_in(part(TableName::Raw), &wanted.raw[family]).into_owned();
        }
        accepted.bridge = self.accepted_in(Part::Bridge, &wanted.bridge).into_owned();
        Cow::Owned(accepted)
    }

    /// One error text for each refused rule.
    pub fn errors(&self) -> impl Iterator<Item = UpdateError> + '_ {
        self.0.iter().flat_map(|((part, _), refusal)| {
            let end = if refusal.keeps { "the chain keeps its live rules until this is fixed" } else { "left out" };
            refusal.texts.iter().map(move |text| UpdateError::new(*part, format_args!("{text}; {end}")))
        })
    }
}

fn text(chain: &impl BisectableChain, name: &ChainName, at: usize, reason: &str) -> String {
    format!("{}: a rule is refused: {reason}: {}", chain.origin(at), chain.line(name, at))
}
