//! Finds the rules that make nft refuse a script.
//!
//! If nft reports one line, the rule of that line is the refused one. If it reports several lines or none, the rules are
//! bisected with `nft -c`, with which the kernel only checks a script.
use crate::nftables::names::TableName;
use crate::nftables::plan::{ChainChange, Plan, Script, script};
use crate::nftables::ruleset::{Chain, Ruleset};
use crate::system::tools::{self, ToolError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of refused rules that one update searches for.
pub const MAX_REFUSED: usize = 100;
/// Maximum number of checks, and their maximum time, for one refused rule.
const MAX_CHECKS: usize = 60;
const TIME: Duration = Duration::from_secs(30);

/// A refused rule: its table and chain, its index there, and the reason.
pub type RefusedRule = (TableName, String, usize, String);

/// The refused rules of a script. Empty if none can be found.
pub fn refused(plan: &Plan, wanted: &Ruleset, script: &Script, error: &ToolError, limit: Duration) -> Vec<RefusedRule> {
    let mut reported = reported(script, error.stderr());
    if reported.len() == 1 {
        return reported;
    }
    let mut search = Search { plan, wanted, limit, tries: MAX_CHECKS, end: Instant::now() + TIME, found: Vec::new() };
    // if the script without its rules is refused too, no rule is the reason
    if search.accepts(&BTreeSet::new()).is_ok() {
        let named: Vec<RulePosition> =
            reported.iter().map(|(table, chain, at, _)| (*table, chain.clone(), *at)).collect();
        search.bisect(&named);
        if search.found.is_empty() {
            search.bisect(&written(plan, wanted));
        }
    }
    if search.found.is_empty() {
        // these rules are refused only in combination: without one of them the others may be accepted
        reported.truncate(1);
        return reported;
    }
    search.found
}

/// The rules in the lines of an error message: `/dev/stdin:LINE:COLUMN-COLUMN: Error: …`.
fn reported(script: &Script, stderr: &str) -> Vec<RefusedRule> {
    let mut reported = Vec::new();
    for message in stderr.lines().filter(|line| line.contains("Error: ")) {
        let Some((place, reason)) = message.split_once(": Error: ") else { continue };
        let mut numbers = place.rsplit(':');
        let line = numbers.nth(1).and_then(|line| line.parse().ok());
        if let Some((table, chain, at)) = line.and_then(|line| script.owner(line)) {
            let one = (table, chain.to_string(), at, reason.trim().to_string());
            if !reported.contains(&one) {
                reported.push(one);
            }
        }
    }
    reported
}

type RulePosition = (TableName, String, usize);

/// The rules that a plan adds.
fn written(plan: &Plan, wanted: &Ruleset) -> Vec<RulePosition> {
    let mut places = Vec::new();
    for (name, changes) in &plan.tables {
        for (chain, _) in changes.chains.iter().filter(|(_, change)| **change != ChainChange::Delete) {
            let count = wanted
                .tables
                .get(name)
                .and_then(|table| table.chains.get(chain.as_str()))
                .map_or(0, |chain| chain.rules().len());
            places.extend((0..count).map(|at| (*name, chain.clone(), at)));
        }
    }
    places
}

struct Search<'a> {
    plan: &'a Plan,
    wanted: &'a Ruleset,
    limit: Duration,
    tries: usize,
    end: Instant,
    found: Vec<RefusedRule>,
}

impl Search<'_> {
    /// Checks the script with only these rules; the error is the reason of the refusal.
    fn accepts(&mut self, rules: &BTreeSet<RulePosition>) -> Result<(), String> {
        self.tries = self.tries.saturating_sub(1);
        if self.tries == 0 || Instant::now() > self.end {
            return Ok(());
        }
        let mut wanted = self.wanted.clone();
        let mut plan = self.plan.clone();
        for (name, table) in &mut wanted.tables {
            let Some(changes) = plan.tables.get_mut(name) else { continue };
            for (chain, change) in &mut changes.chains {
                let Some(content) = table.chains.get_mut(chain.as_str()) else { continue };
                let stays = |at: &usize| rules.contains(&(*name, chain.clone(), *at));
                let rules: Vec<_> =
                    (0..content.rules().len()).filter(stays).map(|at| content.rules()[at].clone()).collect();
                *content = Arc::new(Chain::new(content.hook(), rules));
                if matches!(change, ChainChange::Edit(_)) {
                    *change = ChainChange::Rewrite;
                }
            }
            table.remove_unused_helpers();
        }
        match tools::run("nft", &["-c", "-f", "-"], &script(&plan, &wanted).text, self.limit) {
            Err(error) if error.is_exit_status() => Err(error.stderr().lines().next().unwrap_or_default().to_string()),
            _ => Ok(()),
        }
    }

    fn bisect(&mut self, rules: &[RulePosition]) {
        let Err(reason) = self.accepts(&rules.iter().cloned().collect()) else { return };
        match rules {
            [] => {}
            [(table, chain, at)] => self.found.push((*table, chain.clone(), *at, reason)),
            _ => {
                let (left, right) = rules.split_at(rules.len() / 2);
                self.bisect(left);
                self.bisect(right);
            }
        }
    }
}
