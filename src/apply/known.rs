//! What was last read of the kernel, and the evidence by which it still holds.
//!
//! Reading everything costs the kernel and the tools a quarter of a second for 1,000 guests. So a part is read again when its
//! [`Summary`] says that something has moved, after each change of our own, and now and then in any case: what leaves all
//! summaries as they were, such as one rule in the place of another of the same size, shows only then.
use super::read;
use super::variants::{Tool, Variant, Variants};
use crate::plan::{Live, Part, is_own_set};
use crate::ruleset::Family;
use crate::system::netfilter::{self, Summary};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long after a change of our own everything is read again: in the next regular cycle.
const AFTER_CHANGE: Duration = Duration::from_secs(5);

/// What is known of the kernel.
#[derive(Debug)]
pub(super) struct Known {
    live: Live,
    /// Taken before each part was read. A part without is read each time.
    evidence: BTreeMap<Part, Summary>,
    /// When everything is to be read again.
    due: Instant,
}

impl Known {
    /// Nothing is; from now on everything is read once in `interval` at least.
    pub fn nothing(interval: Duration) -> Self {
        Known { live: Live::empty(), evidence: BTreeMap::new(), due: Instant::now() + interval }
    }

    /// Whether everything is to be read again.
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// The same after these parts may have been changed.
    pub fn without(mut self, touched: &BTreeSet<Part>) -> Self {
        if !touched.is_empty() {
            self.evidence.retain(|part, _| !touched.contains(part));
            self.due = self.due.min(Instant::now() + AFTER_CHANGE);
        }
        self
    }

    /// What is live now; of what has not moved nothing is read.
    pub fn refresh(&mut self, variants: &Variants, limit: Duration) -> Live {
        let now: BTreeMap<Part, Summary> =
            Part::ALL.into_iter().filter_map(|part| Some((part, summary(part, variants)?))).collect();
        let before = std::mem::take(&mut self.evidence);
        let stale = |part| now.get(&part).is_none_or(|now| before.get(&part) != Some(now));
        read::refresh(&mut self.live, variants, limit, stale);
        let failed: Vec<Part> = self.live.faults().into_iter().map(|(part, _)| part).collect();
        self.evidence = now.into_iter().filter(|(part, _)| !failed.contains(part)).collect();
        self.live.clone()
    }
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
