//! An update in progress: the wanted and the live rules, and the results so far.
use super::outcome::{Outcome, UpdateError};
use crate::iptables::plan::{Live, Part, SetPlan, TableName, TablePlan};
use crate::iptables::ruleset::{Ruleset, SetName};
use crate::model::Family;
use std::collections::BTreeSet;
use std::fmt::Display;

/// Maximum number of chains or sets of one part that are reported individually when they could not be updated.
const MAX_NAMED: usize = 10;

/// An update in progress.
pub(super) struct Progress<'a> {
    pub wanted: &'a Ruleset,
    pub live: &'a Live,
    pub outcome: Outcome,
    /// The plans of the tables, to be compared with the live rules afterwards.
    pub tried: Vec<(Part, TablePlan)>,
    /// The parts that may have been changed.
    pub touched: BTreeSet<Part>,
    /// The sets that could not be created or changed.
    pub failed_sets: BTreeSet<SetName>,
}

impl<'a> Progress<'a> {
    pub fn new(wanted: &'a Ruleset, live: &'a Live) -> Self {
        Progress {
            wanted,
            live,
            outcome: Outcome::default(),
            tried: Vec::new(),
            touched: BTreeSet::new(),
            failed_sets: BTreeSet::new(),
        }
    }

    /// Adds the results of another part.
    pub fn merge(&mut self, other: Progress<'_>) {
        self.outcome.merge(other.outcome);
        self.tried.extend(other.tried);
        self.touched.extend(other.touched);
    }

    pub fn error(&mut self, part: Part, text: impl Display) {
        self.outcome.errors.push(UpdateError::new(part, text));
    }

    /// Reports differences from the plan.
    pub fn verify(&mut self, live: &Live, sets: &SetPlan) {
        for (part, plan) in std::mem::take(&mut self.tried) {
            let table = match part {
                Part::Table(table, family) => live.table(table, family).as_deref(),
                Part::Bridge | Part::Sets => live.bridge.as_ref().map(|bridge| &bridge.table),
            };
            match table {
                Ok(table) => self.not_updated(part, "chain", plan.unfinished(table)),
                Err(error) => self.error(part, error),
            }
        }
        match &live.sets {
            _ if sets.is_empty() => {}
            Ok(live) => self.not_updated(Part::Sets, "set", sets.unfinished(live)),
            Err(error) => self.error(Part::Sets, error),
        }
    }

    fn not_updated<'n, N: Display + 'n>(&mut self, part: Part, what: &str, mut names: impl Iterator<Item = &'n N>) {
        for name in names.by_ref().take(MAX_NAMED) {
            self.error(part, format_args!("unable to update {what} '{name}'"));
        }
        let more = names.count();
        if more > 0 {
            self.error(part, format_args!("unable to update {more} more {what}s"));
        }
    }

    /// Whether the rules of a family differ from the plan.
    pub fn has_failed(&self, family: Family) -> bool {
        let part = Part::Table(TableName::Filter, family);
        self.outcome.errors.iter().any(|error| error.part() == Some(part))
    }
}
