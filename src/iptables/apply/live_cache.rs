//! What was last read of the kernel, and the evidence by which it still holds.
//!
//! Reading everything costs the kernel and the tools a quarter of a second for 1,000 guests. So a part is read again when its
//! [`Summary`] says that something has moved, after each change of our own, and now and then in any case: what leaves all
//! summaries as they were, such as one rule in the place of another of the same size, shows only then.
use super::read;
use super::variants::{Tool, Variant, Variants};
use crate::iptables::names::is_own_set;
use crate::iptables::plan::{Action, Live, Part, TablePlan};
use crate::iptables::ruleset::{ChainName, Signature};
use crate::model::Family;
use crate::system::netfilter::{self, Summary};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after a change of our own everything is read again.
const AFTER_CHANGE: Duration = Duration::from_secs(5);

/// What is known of the kernel.
#[derive(Debug)]
pub(super) struct Known {
    live: Live,
    /// Taken before each part was read. A part without is read each time.
    evidence: BTreeMap<Part, Summary>,
    /// The text that chains of iptables had when they were first seen with their signature: whoever edits a chain leaves
    /// its signature as it was.
    bodies: BTreeMap<(Part, ChainName), (Signature, u64)>,
    /// The longest time between two full readings.
    interval: Duration,
    /// When the next full reading is to begin.
    next: Instant,
    /// What is left of one that has begun.
    unread: BTreeSet<Part>,
}

impl Known {
    /// Nothing is; from now on everything is read once in `interval` at least.
    pub fn nothing(interval: Duration) -> Self {
        let (live, evidence, bodies, unread) = (Live::empty(), BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Known { live, evidence, bodies, interval, next: Instant::now() + interval, unread }
    }

    /// Changes the longest time between two full readings.
    pub fn set_interval(&mut self, interval: Duration) {
        self.next = self.next.min(Instant::now() + interval);
        self.interval = interval;
    }

    /// The longest time between two full readings.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes all that is known out: what is left knows nothing.
    pub fn take(&mut self) -> Self {
        let nothing = Known::nothing(self.interval);
        std::mem::replace(self, nothing)
    }

    /// The same after these parts may have been changed, and these chains rewritten.
    pub fn after(mut self, touched: &BTreeSet<Part>, rewritten: &[(Part, TablePlan)]) -> Self {
        if !touched.is_empty() {
            self.evidence.retain(|part, _| !touched.contains(part));
            self.next = self.next.min(Instant::now() + AFTER_CHANGE);
        }
        for (part, plan) in rewritten {
            let chains = [Action::Create, Action::Update].into_iter().flat_map(|action| plan.with(action));
            for name in chains {
                self.bodies.remove(&(*part, name.clone()));
            }
        }
        self
    }

    /// What was read of these parts may have been wrong: they are read again the next time.
    pub fn doubt(&mut self, parts: impl IntoIterator<Item = Part>) {
        for part in parts {
            self.evidence.remove(&part);
        }
    }

    /// When a full reading is to begin, or to go on.
    pub fn due(&self) -> Instant {
        if self.unread.is_empty() { self.next } else { Instant::now() }
    }

    /// Whether it is time for that.
    pub fn is_due(&self) -> bool {
        !self.unread.is_empty() || Instant::now() >= self.next
    }

    /// Whether all is as it was read, as far as the kernel tells. A full reading that is due goes on by one part then, and
    /// that must be as it was: so what is to be done meanwhile never waits for all parts.
    pub fn holds(&mut self, variants: &Variants, limit: Duration) -> bool {
        let now = summaries(variants);
        self.moved(&now).is_empty() && (!self.is_due() || self.read_on(now, variants, limit))
    }

    fn moved(&self, now: &BTreeMap<Part, Summary>) -> BTreeSet<Part> {
        let holds = |part| now.get(&part).is_some_and(|now| self.evidence.get(&part) == Some(now));
        Part::ALL.into_iter().filter(|part| !holds(*part)).collect()
    }

    /// What is live now; of what has not moved nothing is read.
    pub fn refresh(&mut self, variants: &Variants, limit: Duration) -> Live {
        let now = summaries(variants);
        let moved = self.moved(&now);
        if moved.len() == Part::ALL.len() {
            self.next = Instant::now() + self.interval;
            self.unread.clear();
        }
        self.read(&moved, now, variants, limit);
        self.live.clone()
    }

    fn read_on(&mut self, now: BTreeMap<Part, Summary>, variants: &Variants, limit: Duration) -> bool {
        if self.unread.is_empty() {
            self.next = Instant::now() + self.interval;
            self.unread.extend(Part::ALL);
        }
        let before = self.live.clone();
        let part = self.unread.pop_first();
        self.read(&part.into_iter().collect(), now, variants, limit);
        self.live == before
    }

    /// Reads these parts; no other has moved by the evidence of before that.
    fn read(&mut self, parts: &BTreeSet<Part>, now: BTreeMap<Part, Summary>, variants: &Variants, limit: Duration) {
        // nothing is certain any more if this ends in a panic
        self.evidence.clear();
        read::refresh(&mut self.live, variants, limit, |part| parts.contains(&part));
        parts.iter().for_each(|part| self.look_for_edits(*part));
        let failed: Vec<Part> = self.live.faults().into_iter().map(|(part, _)| part).collect();
        self.evidence = now.into_iter().filter(|(part, _)| !failed.contains(part)).collect();
    }

    /// A chain whose text is not what it was under the same signature has none that says anything.
    fn look_for_edits(&mut self, part: Part) {
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

/// The evidence about all parts, as it is now.
fn summaries(variants: &Variants) -> BTreeMap<Part, Summary> {
    Part::ALL.into_iter().filter_map(|part| Some((part, summary(part, variants)?))).collect()
}

/// The evidence about a part in the variant in use; `None` where the kernel gives none.
fn summary(part: Part, variants: &Variants) -> Option<Summary> {
    let variant = |tool| variants.commands(tool).ok().map(|commands| commands.variant);
    let summary = match part {
        Part::Table(table, family) => match variant(Tool::Iptables(family))? {
            Variant::Legacy => netfilter::iptables(table.as_str(), family == Family::V6),
            Variant::Nft => netfilter::nftables(),
        },
        Part::Bridge => match variant(Tool::Ebtables)? {
            Variant::Legacy => netfilter::ebtables("filter"),
            Variant::Nft => netfilter::nftables(),
        },
        Part::Sets => netfilter::sets(is_own_set),
    };
    summary.ok()
}
