//! Applies a ruleset: reads the live rules, plans, runs the restore tools, and verifies the result.
//!
//! The steps are independent: a tool that fails, hangs or is missing affects only its part, and the next update repairs it.
//! Each step of iptables and ebtables is one transaction, and sets are swapped, so that an interrupted update leaves every
//! chain and set either old or new.
#![allow(clippy::disallowed_methods, reason = "uses the clock")]

mod bisect;
mod bisectable_chain;
mod coupled_sets;
mod dump;
mod foreign_changes;
mod live_cache;
mod nat_cache;
mod outcome;
mod prestarted_restore;
mod progress;
mod quarantine;
mod read;
mod restore;
mod sets;
mod tables;
mod tool_names;
mod tool_variants;
mod tools;
mod variant_state;
mod xtables_lock;

use crate::model::Family;
pub use dump::{Dump, Lines, family_name};
pub use nat_cache::NatTables;
pub use outcome::{Outcome, UpdateError};
pub use tool_names::Variant;
pub use tool_variants::{VariantChoice, Variants};

use crate::iptables::plan::{self, Live, Part, Plan, TableName};
use crate::iptables::ruleset::Ruleset;
use crate::system::root_directory::Root;
use anyhow::Result;
use live_cache::LiveCache;
use nat_cache::NatCache;
use progress::Progress;
use quarantine::Refusals;
use std::sync::{Arc, PoisonError};
use std::thread::scope;
use std::time::{Duration, Instant};
use tool_names::Tool;
use tools::Tools;

/// The time limit of a tool. The restore tools wait up to 10 s for the xtables lock.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The maximum time between two full readings of the live rules.
pub const FULL_READING: Duration = Duration::from_secs(300);

/// The node's firewall. Use one for the lifetime of the process: it caches the variants of the tools in use, and the rules
/// that the kernel refused.
///
/// Callers must hold the lock that prevents concurrent updates.
#[derive(Debug)]
pub struct Firewall {
    tools: Tools,
    refused: Refusals,
    known: LiveCache,
    /// The ruleset that was completely live at the last read of the kernel.
    completed: Option<Arc<Ruleset>>,
    nat: NatCache,
    /// Changes by other programs that updates have undone, for [`Firewall::undone`].
    undone: Vec<String>,
}

/// The steps of an update.
struct Steps<'a> {
    tools: &'a Tools,
    refused: &'a mut Refusals,
}

impl Firewall {
    /// A firewall with state files under `root`. Does not run tools.
    #[must_use]
    pub fn new(root: &Root, variant: VariantChoice) -> Self {
        let variants = Variants::new(variant);
        Firewall::with(Tools::new(root, TIME_LIMIT, variants))
    }

    fn with(tools: Tools) -> Self {
        Firewall {
            tools,
            refused: Refusals::default(),
            known: LiveCache::empty(FULL_READING),
            completed: None,
            nat: NatCache::default(),
            undone: Vec::new(),
        }
    }

    /// Sets the time limit of tools, by default 60 s.
    pub fn set_time_limit(&mut self, limit: Duration) {
        self.tools.limit = limit;
    }

    /// The variants of the tools in use, selected when the kernel is first read.
    #[must_use]
    pub fn variants(&self) -> &Variants {
        &self.tools.variants
    }

    /// Sets the interval of full readings, by default five minutes.
    pub fn set_full_reading(&mut self, interval: Duration) {
        self.known.set_interval(interval);
    }

    /// The live state of our rules; changes nothing. A part that cannot be read has the error. Parts that are unchanged
    /// according to the kernel are not read again.
    pub fn live(&mut self) -> Live {
        for fresh in self.tools.variants.choose(self.tools.limit) {
            self.known.merge(fresh);
        }
        self.known.refresh(&self.tools.variants, self.tools.limit)
    }

    /// Queries the kernel's summaries for the next update in advance; does nothing before the first update. Call it right before
    /// an update, in parallel with other work: with 1,000 guests the kernel needs some milliseconds.
    pub fn prefetch_summaries(&mut self) {
        self.known.prefetch_summaries(&self.tools.variants);
    }

    /// Starts up to `number` of the tools that an update of large tables would run: they read the tables until
    /// [`Firewall::update`] has rules for them. Other programs cannot change rules until an update or [`Firewall::end_early`].
    pub fn start_early(&mut self, number: usize) {
        for family in Family::ALL.into_iter().take(number) {
            let (Ok(commands), Ok(live)) =
                (self.tools.variants.commands(Tool::Iptables(family)), &self.known.live().filter[family])
            else {
                continue;
            };
            let table = (TableName::Filter, family);
            self.tools.prestarted.start(table, commands, live.chains.len(), &self.tools.xtables_lock);
        }
    }

    /// Ends the tools of [`Firewall::start_early`] that have waited for this time.
    pub fn end_early(&self, after: Duration) {
        self.tools.prestarted.end(after);
    }

    /// Like [`Firewall::update`], but cheaper if nothing has changed since the last call. If a full reading is due, each call
    /// reads one part, so that other work does not wait for all of them.
    pub fn maintain(&mut self, wanted: &Arc<Ruleset>) -> Outcome {
        let completed = self.completed.take();
        let unchanged = completed.as_ref().is_some_and(|completed| Arc::ptr_eq(completed, wanted));
        if completed.as_ref().is_some_and(|completed| Arc::ptr_eq(completed, wanted))
            && self.known.is_current(&self.tools.variants, self.tools.limit)
            && self.no_rules_in_unused_variants()
        {
            self.completed = completed;
            return Outcome::default();
        }
        if completed.is_none() {
            self.invalidate_if_due();
        }
        let (outcome, as_wanted) = self.update_once(wanted, unchanged);
        self.completed = as_wanted.then(|| wanted.clone());
        outcome
    }

    /// When [`Firewall::maintain`] has to read the next part of a full reading; `None` while an update is needed.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.completed.as_ref().map(|_| self.known.due())
    }

    /// Whether no unused variant contains rules of ours. Variants whose full reading is due are read again.
    fn no_rules_in_unused_variants(&mut self) -> bool {
        let variants = &mut self.tools.variants;
        variants.refresh_others(Instant::now(), self.known.interval(), self.tools.limit);
        variants.unused_with_own_chains().is_empty() && variants.errors().next().is_none()
    }

    fn invalidate_if_due(&mut self) {
        if self.known.is_due() {
            self.known.invalidate(Part::ALL);
        }
    }

    /// Applies a ruleset and reports errors. Chains and sets that are already as wanted are not changed.
    ///
    /// A rule that the tools refuse is left out, or, if that would let more packets pass, its chain keeps its live rules. Each
    /// update reports it until it is accepted.
    pub fn update(&mut self, wanted: &Ruleset) -> Outcome {
        self.completed = None;
        self.invalidate_if_due();
        self.update_once(wanted, false).0
    }

    /// The changes, without rules known to be refused. The sets of a family whose rules cannot be read are kept, because an
    /// entry could have to move from them to a rule.
    fn plan(&mut self, wanted: &Ruleset, live: &Live) -> Plan {
        self.refused.remove_outdated(wanted, live);
        let mut plan = Plan::with_kept(&self.refused.accepted(wanted), live, |part| self.refused.kept(part));
        for family in Family::ALL.into_iter().filter(|family| live.filter[*family].is_err()) {
            plan.exclude_sets(wanted.sets_of(family));
        }
        let kept = plan::coupled_sets::used_only_by_kept_chains(&plan, wanted, live);
        plan.exclude_sets(&kept);
        plan
    }

    /// The changes by other programs that updates have undone since the last call: a line for each part, with names.
    pub fn undone(&mut self) -> Vec<String> {
        std::mem::take(&mut self.undone)
    }

    /// Also returns whether the live rules are completely as wanted. If `completed`, they were so before, and other programs
    /// have made all changes since.
    fn update_once(&mut self, wanted: &Ruleset, completed: bool) -> (Outcome, bool) {
        let begun = Instant::now();
        let live = self.live();
        let mut progress = Progress::new(wanted, &live);
        for (part, error) in live.errors() {
            // a node without layer 2 rules needs no ebtables
            if part != Part::Bridge || !wanted.bridge.is_empty() {
                progress.error(part, error);
            }
        }
        let plan = self.plan(wanted, &live);
        if completed {
            self.undone.extend(foreign_changes::undone(&plan, &live));
        } else {
            let retyped = plan.sets.retyped.iter();
            self.undone.extend(retyped.map(|name| format!("ipset: the set {name} was of another type")));
        }
        let coupled = plan::coupled_sets::with_rules(&plan, wanted, &live);
        let after = if !coupled.is_empty() {
            Some(coupled_sets::update(self, &coupled, &mut progress))
        } else if !plan.is_empty() {
            Some(self.execute(&plan, &mut progress))
        } else {
            None
        };
        let Progress { mut outcome, .. } = progress;
        let quiet = !outcome.changed && outcome.errors.is_empty();
        outcome.errors.extend(self.refused.errors());
        let mut as_wanted = true;
        if !quiet {
            // trust a read only if it shows the wanted state; read every other part again next time
            let now = after.unwrap_or_else(|| self.live());
            let left = self.plan(wanted, &now);
            self.known.invalidate(left.parts());
            as_wanted = left.is_empty();
        }
        // last, because a tool that hangs must not delay the variants in use
        self.tools.variants.refresh_others(begun, self.known.interval(), self.tools.limit);
        if outcome.errors.is_empty() {
            let unused_with_own_chains = self.tools.variants.unused_with_own_chains();
            let programs = unused_with_own_chains.iter().map(|(_, commands)| &commands.single);
            self.undone.extend(programs.map(|tool| format!("{tool}, which is not in use: chains of ours")));
            tables::clear_variants(&mut self.tools, &mut self.refused, &unused_with_own_chains, &mut outcome);
        }
        outcome.errors.extend(self.tools.variants.errors());
        as_wanted &= outcome.errors.is_empty() && self.refused.is_empty();
        (outcome, as_wanted)
    }

    /// The live state as it was last read.
    #[must_use]
    pub fn last_read(&self) -> &Live {
        self.known.live()
    }

    /// The tables `nat`; those that are unchanged according to the kernel are not read again. `in_nft` returns whether nftables
    /// has that of a family.
    pub fn nat_tables(&mut self, in_nft: impl Fn(Family) -> bool) -> NatTables {
        self.nat.refresh(&self.tools.variants, self.known.interval(), self.tools.limit, in_nft)
    }

    /// The families whose tools refuse rules with the match `physdev`.
    #[must_use]
    pub fn without_physdev(&self) -> Vec<Family> {
        let refused: Vec<UpdateError> =
            self.refused.errors().filter(|error| error.to_string().contains(" physdev ")).collect();
        let of =
            |family: &Family| refused.iter().any(|error| error.part() == Some(Part::Table(TableName::Filter, *family)));
        Family::ALL.into_iter().filter(of).collect()
    }

    /// An error for each script that could not be written to the state directory. This does not affect the rules.
    #[must_use]
    pub fn unsaved_scripts(&self) -> Vec<UpdateError> {
        let lost = self.tools.unsaved_scripts.lock().unwrap_or_else(PoisonError::into_inner);
        lost.values()
            .map(|reason| UpdateError::general(format_args!("the last script could not be saved: {reason}")))
            .collect()
    }

    /// The live rules as printed by the tools. A part that cannot be read has no lines.
    pub fn dump(&mut self) -> Dump {
        dump::live(&mut self.tools)
    }

    /// The output of the tools for a ruleset, which is loaded in an empty network namespace. Also returns the outcome, with
    /// the rules that the tools refuse.
    ///
    /// # Errors
    /// When the namespace cannot be created.
    pub fn dump_of(&self, wanted: &Ruleset) -> Result<(Dump, Outcome)> {
        dump::loaded(&self.tools, wanted)
    }

    /// Removes the hooks, then our chains of all tables and variants, our sets, and our ebtables chains.
    pub fn remove(&mut self) -> Outcome {
        self.refused = Refusals::default();
        let mut outcome = self.update(&Ruleset::default());
        let unused = self.tools.variants.unused();
        tables::clear_variants(&mut self.tools, &mut self.refused, &unused, &mut outcome);
        outcome
    }

    /// Returns the live state afterwards.
    fn execute(&mut self, plan: &Plan, progress: &mut Progress<'_>) -> Live {
        // the cache stays empty after a panic
        let known = self.known.take();
        let at_once = self.tools.variants.ebtables_is_independent();
        let mut steps = Steps { tools: &self.tools, refused: &mut self.refused };
        let layer_3 = |steps: &mut Steps<'_>, progress: &mut Progress<'_>| update_layer_3(steps, plan, progress);
        let bridge = |steps: &mut Steps<'_>, progress: &mut Progress<'_>| tables::update_bridge(steps, plan, progress);
        update_both(at_once, &mut steps, progress, layer_3, (bridge, |part| part == Part::Bridge));
        self.known = known.without_changed(&progress.touched, &progress.tried);
        let live = self.live();
        progress.verify(&live, &plan.sets);
        live
    }
}

/// Updates the sets, and the iptables tables that use them; the families at the same time.
fn update_layer_3(steps: &mut Steps<'_>, plan: &Plan, progress: &mut Progress<'_>) {
    sets::update(steps, &plan.sets, progress);
    let [v4, v6] = Family::ALL.map(|family| {
        move |steps: &mut Steps<'_>, progress: &mut Progress<'_>| {
            TableName::ALL.iter().for_each(|table| tables::update_table(steps, *table, family, plan, progress));
        }
    });
    update_both(true, steps, progress, v4, (v6, |part| matches!(part, Part::Table(_, Family::V6))));
    sets::remove(steps.tools, &plan.sets, progress);
}

/// Runs two steps, at the same time if this is allowed. The second is given with the parts that only it updates.
fn update_both(
    at_once: bool,
    steps: &mut Steps<'_>,
    progress: &mut Progress<'_>,
    first: impl FnOnce(&mut Steps<'_>, &mut Progress<'_>),
    (second, of_second): (impl FnOnce(&mut Steps<'_>, &mut Progress<'_>) + Send, impl Fn(Part) -> bool),
) {
    let (tools, mut refused) = (steps.tools, steps.refused.split_off(of_second));
    let mut second_progress = Progress::new(progress.wanted, progress.live);
    let update_second = || second(&mut Steps { tools, refused: &mut refused }, &mut second_progress);
    if at_once {
        scope(|threads| {
            threads.spawn(update_second);
            first(steps, progress);
        });
    } else {
        first(steps, progress);
        update_second();
    }
    progress.merge(second_progress);
    steps.refused.join(refused);
}
