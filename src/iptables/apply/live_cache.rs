//! Caches the live state, with kernel summaries that detect changes.
//!
//! Reading everything takes a quarter of a second for 1,000 guests. Therefore a part is read again only when its [`Summary`]
//! has changed, after each change of our own, and at regular intervals, to detect changes that no summary shows, such as a rule
//! replaced by another of the same size.
use super::read::{self, Fresh, VariantContent};
use super::tool_names::{Tool, Variant};
use super::tool_variants::Variants;
use crate::iptables::plan::{Live, Part, PlannedAction, Readable, TableName, TablePlan};
use crate::iptables::ruleset::{ChainName, Signature};
use crate::model::Family;
use crate::system::netfilter::Summary;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::{self, scope};
use std::time::{Duration, Instant};

/// The delay of a full reading after our own changes.
const AFTER_CHANGE: Duration = Duration::from_secs(5);

/// The cached live state.
#[derive(Debug)]
pub(super) struct LiveCache {
    live: Live,
    /// The summaries, taken before each part was read. A part without one is read each time.
    evidence: BTreeMap<Part, Summary>,
    /// The text hash of iptables chains when they were first read with their signature, because editing a chain does not
    /// change its signature.
    bodies: BTreeMap<(Part, ChainName), (Signature, u64)>,
    /// The maximum time between two full readings.
    interval: Duration,
    /// When the next full reading starts.
    next: Instant,
    /// The remaining parts of a full reading.
    unread: BTreeSet<Part>,
    /// The summaries for the next call, if they were taken before it.
    prefetched: Option<BTreeMap<Part, Summary>>,
}

impl LiveCache {
    /// An empty cache with a full reading at least once per `interval`.
    pub fn empty(interval: Duration) -> Self {
        let (live, evidence, bodies, unread) = (Live::empty(), BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        LiveCache { live, evidence, bodies, interval, next: Instant::now() + interval, unread, prefetched: None }
    }

    /// Sets the maximum time between two full readings.
    pub fn set_interval(&mut self, interval: Duration) {
        self.next = self.next.min(Instant::now() + interval);
        self.interval = interval;
    }

    /// The maximum time between two full readings.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The live state as it was last read.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Moves the content out and leaves an empty cache.
    pub fn take(&mut self) -> Self {
        let empty = LiveCache::empty(self.interval);
        std::mem::replace(self, empty)
    }

    /// Without parts that may have changed, and without rewritten chains.
    pub fn without_changed(mut self, touched: &BTreeSet<Part>, rewritten: &[(Part, TablePlan)]) -> Self {
        if !touched.is_empty() {
            self.evidence.retain(|part, _| !touched.contains(part));
            self.next = self.next.min(Instant::now() + AFTER_CHANGE);
        }
        for (part, plan) in rewritten {
            let chains =
                [PlannedAction::Create, PlannedAction::Update].into_iter().flat_map(|action| plan.with(action));
            for name in chains {
                self.bodies.remove(&(*part, name.clone()));
            }
        }
        self
    }

    /// Adds the content that was read when the variant of a tool was selected.
    pub fn merge(&mut self, fresh: Fresh) {
        let mut read = Vec::new();
        match fresh.content {
            VariantContent::Bridge(bridge) => {
                self.live.bridge = Ok(Arc::new(bridge));
                read.push(Part::Bridge);
            }
            VariantContent::Tables(family, tables) => {
                for (name, table) in tables {
                    *self.live.table_mut(name, family) = Ok(Arc::new(table));
                    read.push(Part::Table(name, family));
                }
            }
        }
        read.iter().for_each(|part| self.detect_edits(*part));
        self.evidence.extend(fresh.evidence.into_iter().filter(|(part, _)| read.contains(part)));
    }

    /// Makes the next call read these parts again, because they may have been read incorrectly.
    pub fn invalidate(&mut self, parts: impl IntoIterator<Item = Part>) {
        for part in parts {
            self.evidence.remove(&part);
        }
    }

    /// When the next part of a full reading is due.
    pub fn due(&self) -> Instant {
        if self.unread.is_empty() { self.next } else { Instant::now() }
    }

    /// Whether a part of a full reading is due.
    pub fn is_due(&self) -> bool {
        !self.unread.is_empty() || Instant::now() >= self.next
    }

    /// Reads the summaries for the next call in advance. Changes by other programs until then are detected by the call after it.
    pub fn prefetch_summaries(&mut self, variants: &Variants) {
        self.prefetched = (!self.evidence.is_empty()).then(|| summaries(variants));
    }

    /// Whether the live state is unchanged according to the kernel's summaries. If a full reading is due, it also reads and
    /// compares one part, so that updates never wait for all parts.
    pub fn is_current(&mut self, variants: &Variants, limit: Duration) -> bool {
        let now = self.summaries(variants);
        self.changed(&now).is_empty() && (!self.is_due() || self.read_next_part(now, variants, limit))
    }

    fn summaries(&mut self, variants: &Variants) -> BTreeMap<Part, Summary> {
        self.prefetched.take().unwrap_or_else(|| summaries(variants))
    }

    fn changed(&self, now: &BTreeMap<Part, Summary>) -> BTreeSet<Part> {
        let same = |part| now.get(&part).is_some_and(|now| self.evidence.get(&part) == Some(now));
        Part::ALL.into_iter().filter(|part| !same(*part)).collect()
    }

    /// The live state; unchanged parts are not read.
    pub fn refresh(&mut self, variants: &Variants, limit: Duration) -> Live {
        let now = self.summaries(variants);
        let changed = self.changed(&now);
        if changed.len() == Part::ALL.len() {
            self.next = Instant::now() + self.interval;
            self.unread.clear();
        }
        self.read(&changed, now, variants, limit);
        self.live.clone()
    }

    fn read_next_part(&mut self, now: BTreeMap<Part, Summary>, variants: &Variants, limit: Duration) -> bool {
        if self.unread.is_empty() {
            self.next = Instant::now() + self.interval;
            self.unread.extend(Part::ALL);
        }
        let before = self.live.clone();
        let part = self.unread.pop_first();
        self.read(&part.into_iter().collect(), now, variants, limit);
        self.live == before
    }

    /// Reads these parts; the others are unchanged according to summaries taken before.
    fn read(&mut self, parts: &BTreeSet<Part>, now: BTreeMap<Part, Summary>, variants: &Variants, limit: Duration) {
        // the cache stays empty after a panic
        self.evidence.clear();
        refresh(&mut self.live, variants, limit, |part| parts.contains(&part));
        parts.iter().for_each(|part| self.detect_edits(*part));
        let failed: Vec<Part> = self.live.errors().into_iter().map(|(part, _)| part).collect();
        self.evidence = now.into_iter().filter(|(part, _)| !failed.contains(part)).collect();
    }

    /// If a chain's rules changed but its PVESIG did not, ignores the signature so that the chain is rewritten.
    fn detect_edits(&mut self, part: Part) {
        let Part::Table(table, family) = part else { return };
        let Ok(live) = self.live.table_mut(table, family) else { return };
        for (name, chain) in &mut Arc::make_mut(live).chains {
            let Some(signature) = chain.signature else { continue };
            let seen = (signature, chain.body);
            let first = self.bodies.entry((part, name.clone())).or_insert(seen);
            if first.0 != signature {
                *first = seen;
            } else if first.1 != chain.body {
                chain.signature = None;
            }
        }
        self.bodies.retain(|(of, name), _| *of != part || live.chains.contains_key(name));
    }
}

/// Reads the stale parts of the live state in parallel, in the variants in use.
fn refresh(live: &mut Live, variants: &Variants, limit: Duration, stale: impl Fn(Part) -> bool) {
    scope(|threads| {
        let runs = Family::ALL.into_iter().flat_map(|family| {
            let stale = TableName::ALL.into_iter().filter(|name| stale(Part::Table(*name, family))).collect::<Vec<_>>();
            // one run of the legacy tool reads one table
            let size = if variants.uses_nftables(family) { TableName::ALL.len() } else { 1 };
            stale.chunks(size).map(|names| (family, names.to_vec())).collect::<Vec<_>>()
        });
        let tables: Vec<_> = runs
            .map(|(family, names)| {
                let (of, tool) = (names.clone(), variants.commands(Tool::Iptables(family)));
                let read = move || tool.map(|commands| read::tables(&names, commands, limit));
                (family, of, threads.spawn(read))
            })
            .collect();
        let bridge =
            stale(Part::Bridge).then(|| threads.spawn(move || read::bridge(variants.commands(Tool::Ebtables)?, limit)));
        if stale(Part::Sets) {
            live.sets = read::sets(limit).map(Arc::new);
        }
        for (family, names, thread) in tables {
            match joined(thread.join()) {
                Ok(read) => {
                    read.into_iter().for_each(|(name, table)| *live.table_mut(name, family) = table.map(Arc::new))
                }
                Err(error) => names.into_iter().for_each(|name| *live.table_mut(name, family) = Err(error.clone())),
            }
        }
        if let Some(thread) = bridge {
            live.bridge = joined(thread.join()).map(Arc::new);
        }
    });
}

fn joined<T>(read: thread::Result<Readable<T>>) -> Readable<T> {
    read.unwrap_or_else(|_| Err("reading it caused a panic; this is a bug in this program".into()))
}

/// The current summaries of all parts.
fn summaries(variants: &Variants) -> BTreeMap<Part, Summary> {
    Part::ALL.into_iter().filter_map(|part| Some((part, summary(part, variants)?))).collect()
}

/// The summary of a part in the variant in use; `None` if the kernel has none.
fn summary(part: Part, variants: &Variants) -> Option<Summary> {
    let tool = match part {
        Part::Table(_, family) => Some(Tool::Iptables(family)),
        Part::Bridge => Some(Tool::Ebtables),
        Part::Sets => None,
    };
    // sets have one variant only
    let variant = tool.map_or(Some(Variant::Legacy), |tool| Some(variants.commands(tool).ok()?.variant))?;
    read::summary(part, variant).ok()
}
