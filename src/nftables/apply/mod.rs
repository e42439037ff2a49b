//! Applies a ruleset in one transaction with the changes, or none if nothing has changed.
//!
//! As long as the generation number of nftables is that of this process's last transaction, nothing has changed in the kernel,
//! and nothing is read.
#![allow(clippy::disallowed_methods, reason = "uses the clock")]

mod bisect;
mod dump;
mod foreign_changes;
mod quarantine;

pub use dump::Lines;

use super::live;
use super::names::{CONNTRACK, TableName};
use super::plan::{CachedChain, ChainChange, Edited, LiveCache, Plan, TablePlan, cache_equal_parts, diff, script};
use super::ruleset::Ruleset;
use crate::system::netfilter::nft_generation;
use crate::system::tools::{self, ToolError};
use anyhow::Result;
use quarantine::Quarantine;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time limit of nft.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Maximum number of restarts of an update because another program has changed the tables meanwhile.
const MAX_RACES: u32 = 5;
/// With more changed chains than this, the next update without a change reads their rules back. Until then the generation
/// number is sufficient evidence: it is one higher if the kernel has applied this transaction and no other.
const MAX_READ_AT_ONCE: usize = 64;

/// The outcome of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything was changed.
    pub changed: bool,
    /// The errors.
    pub errors: Vec<String>,
}

/// The node's nftables firewall. Use one for the lifetime of the process: it caches the live state, and the rules that the
/// kernel refused.
///
/// Callers must hold the lock that prevents concurrent updates.
#[derive(Debug)]
pub struct Firewall {
    limit: Duration,
    known: Option<(u32, LiveCache)>,
    /// The ruleset that was completely live, and the generation then.
    settled: Option<(u32, Arc<Ruleset>)>,
    quarantine: Quarantine,
    /// Changes by other programs that updates have undone, for [`Firewall::undone`].
    undone: Vec<String>,
    /// The scripts of transactions, for [`Firewall::scripts`]; `None` if they are not recorded.
    scripts: Option<Vec<String>>,
}

impl Default for Firewall {
    fn default() -> Self {
        Firewall {
            limit: TIME_LIMIT,
            known: None,
            settled: None,
            quarantine: Quarantine::default(),
            undone: Vec::new(),
            scripts: None,
        }
    }
}

impl Firewall {
    /// Sets the time limit of nft, by default 60 s.
    pub fn set_time_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Applies a ruleset and reports errors.
    ///
    /// A rule that the kernel refuses is left out, or, if that would let more packets pass, its chain keeps its live rules. Each
    /// update reports it until it is accepted.
    pub fn update(&mut self, wanted: &Arc<Ruleset>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.try_update(wanted, &mut outcome) {
            self.known = None;
            self.settled = None;
            outcome.errors.push(format!("{error:#}"));
        }
        outcome.errors.extend(self.quarantine.errors());
        outcome
    }

    /// The changes by other programs that updates have undone since the last call: a line for each table, with names.
    ///
    /// A change that another program makes while an update runs is not named: the kernel then shows only the result of both.
    pub fn undone(&mut self) -> Vec<String> {
        std::mem::take(&mut self.undone)
    }

    /// Records the scripts of transactions from now on.
    pub fn record_scripts(&mut self) {
        self.scripts = Some(Vec::new());
    }

    /// The recorded scripts of the transactions since the last call, as the kernel accepted them.
    pub fn scripts(&mut self) -> Vec<String> {
        self.scripts.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether the kernel refuses rules that match the state of bridged connections.
    #[must_use]
    pub fn refuses_conntrack_in_bridges(&self) -> bool {
        self.quarantine.contains_chain(TableName::Guests, CONNTRACK)
    }

    /// Deletes both tables.
    pub fn remove(&mut self) -> Outcome {
        self.quarantine = Quarantine::default();
        self.update(&Arc::new(Ruleset::default()))
    }

    /// When [`Firewall::update`] has to be called again even if nothing changes: to read back the rules of a large transaction.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.known.as_ref().filter(|(_, known)| known.unread).map(|_| Instant::now())
    }

    /// The plan of an update. Changes nothing.
    ///
    /// # Errors
    /// When the kernel cannot be queried.
    pub fn plan(&mut self, wanted: &Ruleset) -> Result<Plan> {
        let (_, known) = read(&mut self.known)?;
        Ok(diff(wanted, known, &handles))
    }

    fn try_update(&mut self, wanted: &Arc<Ruleset>, outcome: &mut Outcome) -> Result<()> {
        // read at once: another program may change the chains continuously
        let unread = self.known.as_ref().is_some_and(|(_, known)| known.unread);
        if let Some((generation, settled)) = &self.settled
            && Arc::ptr_eq(settled, wanted)
            && self.quarantine.is_empty()
            && !unread
            && nft_generation().ok() == Some(*generation)
        {
            return Ok(());
        }
        let settled = self.settled.take();
        let mut settled = settled.map(|(at, settled)| (at, self.quarantine.accepted(&settled).into_owned()));
        self.quarantine.remove_outdated(wanted);
        let (mut tries, mut races) = (0, 0);
        let generation = loop {
            let (generation, known) = read(&mut self.known)?;
            if let Some((_, settled)) = settled.take_if(|(at, _)| *at != generation) {
                self.undone.extend(foreign_changes::undone(&diff(&settled, known, &handles), known));
            }
            let accepted = self.quarantine.accepted(wanted);
            let plan = diff(&accepted, known, &handles);
            self.known.iter_mut().for_each(|(_, known)| cache_equal_parts(known, &accepted, &plan));
            if plan.is_empty() {
                match self.read_back_pending(generation, &accepted, outcome)? {
                    true => break generation,
                    false => continue,
                }
            }
            let script = script(&plan, &accepted);
            match tools::run("nft", &["-f", "-"], &script.text, self.limit) {
                Ok(_) => {
                    outcome.changed = true;
                    settled = None;
                    self.scripts.iter_mut().for_each(|scripts| scripts.push(script.text.clone()));
                    let (now, errors) = self.verify(generation, &plan, &accepted, !unread)?;
                    // the plan may lack changes that another program has made meanwhile
                    if now != generation.wrapping_add(1) && races < MAX_RACES {
                        races += 1;
                        continue;
                    }
                    outcome.errors.extend(errors);
                    break now;
                }
                Err(error) if error.is_exit_status() && tries < bisect::MAX_REFUSED => {
                    tries += 1;
                    let refused = bisect::refused(&plan, &accepted, &script, &error, self.limit);
                    // if another program has changed the tables, no rule may be the reason of the refusal
                    if nft_generation()? != generation {
                        continue;
                    }
                    if refused.is_empty() {
                        return Err(error.into());
                    }
                    let (_, known) = read(&mut self.known)?;
                    self.quarantine.record(wanted, &accepted, known, refused);
                }
                Err(error) => return Err(failed(error)),
            }
        };
        // after too many restarts, the next update compares again
        if outcome.errors.is_empty() && races < MAX_RACES {
            self.settled = Some((generation, wanted.clone()));
        }
        Ok(())
    }

    /// Reads back the rules that large transactions have created; false if another program has changed nftables since.
    fn read_back_pending(&mut self, before: u32, wanted: &Ruleset, outcome: &mut Outcome) -> Result<bool> {
        let Some((_, old)) = self.known.take_if(|(_, known)| known.unread) else { return Ok(true) };
        let (generation, live) = read_consistent()?;
        let no_transaction = generation == before;
        let known = LiveCache::of(live, Some(&old), no_transaction);
        if no_transaction {
            for (name, TablePlan { chains, sets, elements, .. }) in diff(wanted, &known, &handles).tables {
                let parts = chains.keys().chain(sets.keys()).chain(elements.keys());
                outcome.errors.extend(parts.map(|part| not_updated(name, part)));
            }
        }
        self.known = Some((generation, known));
        Ok(no_transaction)
    }

    /// Reads back the result of a transaction; the next update may read many chains. Returns the generation, and an error for each
    /// chain that is not as wanted.
    fn verify(&mut self, before: u32, plan: &Plan, wanted: &Ruleset, later: bool) -> Result<(u32, Vec<String>)> {
        let mut errors = Vec::new();
        let now = nft_generation()?;
        let changed: usize = plan.tables.values().map(|table| table.chains.len()).sum();
        let alone = now == before.wrapping_add(1) && (later || changed <= MAX_READ_AT_ONCE);
        let in_place = plan.tables.values().all(|table| table.wanted && !table.deletes_table);
        let mut known = self.known.take();
        let current = match &mut known {
            Some((_, known)) if alone && in_place => {
                read_back(plan, wanted, changed > MAX_READ_AT_ONCE, known)?;
                // otherwise the result may contain changes that another program has made meanwhile
                nft_generation()? == now
            }
            _ => false,
        };
        let (generation, known) = match known {
            Some((_, known)) if current => (now, known),
            old => {
                let (generation, live) = read_consistent()?;
                let mut known = LiveCache::of(live, old.as_ref().map(|(_, known)| known), false);
                if generation == before.wrapping_add(1) {
                    clear_edited(plan, &mut known);
                }
                (generation, known)
            }
        };
        let (generation, known) = self.known.insert((generation, known));
        for (name, changes) in &plan.tables {
            let created = changes.chains.iter().filter(|(_, change)| **change != ChainChange::Delete);
            for (chain, _) in created.filter(|_| changes.wanted) {
                let live = known.tables.get_mut(name).and_then(|table| table.chains.get_mut(chain));
                let wanted = wanted.tables.get(name).and_then(|table| table.chains.get(chain.as_str()));
                match (live, wanted) {
                    (Some(live), Some(wanted)) if live.matches(wanted) => live.created = Some(wanted.clone()),
                    _ => errors.push(not_updated(*name, chain)),
                }
            }
        }
        Ok((*generation, errors))
    }
}

fn not_updated(table: TableName, part: &str) -> String {
    format!("unable to update '{part}' of table {table}")
}

/// The generation, and the live state, which is read if the generation has changed since the last read.
fn read(known: &mut Option<(u32, LiveCache)>) -> Result<(u32, &LiveCache)> {
    let now = nft_generation()?;
    if known.as_ref().is_none_or(|(generation, _)| *generation != now) {
        let before = known.take();
        let (generation, live) = read_consistent()?;
        *known = Some((generation, LiveCache::of(live, before.as_ref().map(|(_, known)| known), false)));
    }
    let (generation, known) = known.get_or_insert_with(|| (now, LiveCache::default()));
    Ok((*generation, known))
}

fn failed(error: ToolError) -> anyhow::Error {
    anyhow::Error::from(error).context("the tables were not changed")
}

/// Clears the flag `edited` of chains that a transaction of this process has changed.
fn clear_edited(plan: &Plan, known: &mut LiveCache) {
    for (name, changes) in &plan.tables {
        let Some(table) = known.tables.get_mut(name) else { continue };
        for chain in changes.chains.keys() {
            if let Some(chain) = table.chains.get_mut(chain) {
                chain.edited = Edited::No;
            }
        }
    }
}

/// The live state, with the generation at which all of it was read.
fn read_consistent() -> Result<(u32, live::Live)> {
    const TRIES: u32 = 5;
    let mut before = nft_generation()?;
    for _ in 0..TRIES {
        let live = live::read()?;
        let after = nft_generation()?;
        if before == after {
            return Ok((after, live));
        }
        before = after;
    }
    anyhow::bail!("other programs change nftables too fast for it to be read")
}

/// The handles of a chain's live rules.
fn handles(table: TableName, chain: &str) -> Option<Vec<u64>> {
    let rules = live::chain_rules(table, chain).ok()?;
    Some(rules.iter().map(|rule| rule.handle).collect())
}

/// Reads the changed parts of tables, without rules if those are to be read `later`.
fn read_back(plan: &Plan, wanted: &Ruleset, later: bool, known: &mut LiveCache) -> Result<()> {
    known.unread |= later;
    for (name, changes) in &plan.tables {
        let created =
            || changes.chains.iter().filter(|(_, change)| **change != ChainChange::Delete).map(|(name, _)| name);
        let sets = changes.sets.keys().chain(changes.elements.keys());
        let now = created().filter(|_| !later).map(String::as_str);
        let (chains, sets, objects) = live::read_parts(*name, now, sets.map(String::as_str))?;
        let table = known.tables.entry(*name).or_default();
        for chain in changes.chains.keys() {
            table.chains.remove(chain);
        }
        for set in changes.sets.keys() {
            table.sets.remove(set);
        }
        table.chains.extend(chains.iter().map(|(name, chain)| (name.clone(), CachedChain::new(chain))));
        if let Some(wanted) = wanted.tables.get(name).filter(|_| later) {
            let chain = |name: &String| Some((name.clone(), CachedChain::unread(wanted.chains.get(name.as_str())?)));
            table.chains.extend(created().filter_map(chain));
        }
        table.sets.extend(sets);
        if !changes.new_objects.is_empty() || !changes.old_objects.is_empty() {
            table.objects = objects;
        }
    }
    Ok(())
}
