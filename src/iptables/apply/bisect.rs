//! Finds the rules that make a restore tool refuse a script, without changing a chain in use.
//!
//! Rules are tested in a chain that no rule jumps to, so that no packet is affected. Equal rules of several chains are tested
//! once; then the rules are bisected. The number of attempts and the time are limited.
use super::bisectable_chain::{BisectableChain, RefusedRule};
use super::restore::{Failure, Restore};
use crate::iptables::names;
use crate::iptables::plan::PlannedAction;
use crate::iptables::plan::{Part, Script, TableName, TablePlan};
use crate::iptables::ruleset::{ChainName, Chains};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The maximum number of tool runs, and the maximum time of one bisection: a loaded node needs a second for each run.
const MAX_TESTS: usize = 400;
const MAX_TIME: Duration = Duration::from_secs(120);

/// A rule in the form that is tested, and its positions in the script.
struct CandidateRule {
    line: String,
    places: Vec<(ChainName, usize)>,
}

/// The remaining attempts and time of an update.
pub(super) struct Budget {
    tries: usize,
    end: Instant,
}

impl Budget {
    pub fn new() -> Self {
        Budget { tries: MAX_TESTS, end: Instant::now() + MAX_TIME }
    }

    /// Uses one attempt; false if none is left.
    pub fn take(&mut self) -> bool {
        self.tries = self.tries.saturating_sub(1);
        self.tries > 0 && Instant::now() < self.end
    }
}

struct Search<'a> {
    restore: &'a Restore<'a>,
    budget: &'a mut Budget,
    names: [ChainName; 2],
    /// A live chain that jumps to the tested rules with a rule that matches no packet.
    from: Option<&'a ChainName>,
    found: Vec<RefusedRule>,
}

/// The refused rules of a script. Empty if none can be found within the limits.
pub(super) fn refused<R: BisectableChain>(
    restore: &Restore<'_>,
    failure: &Failure,
    (plan, script, wanted): (&TablePlan, &Script<ChainName>, &Chains<R>),
    budget: &mut Budget,
) -> Vec<RefusedRule> {
    let reported = failure.line.and_then(|line| script.owner(line)).map(|(name, at)| (name.clone(), at));
    let reported = reported.filter(|(name, at)| wanted.get(name).is_some_and(|chain| *at < chain.count()));
    if restore.is_exact() {
        return reported.into_iter().map(|(name, at)| (name, at, failure.reason())).collect();
    }
    let dangling = dangling(plan, wanted);
    if !dangling.is_empty() {
        return dangling;
    }
    // the chain for the tested rules, and the target of their jumps
    let names = [names::TRIAL, names::TRIAL_TARGET].map(ChainName::from);
    let changed = [PlannedAction::Create, PlannedAction::Update].into_iter().flat_map(|action| plan.with(action));
    let mut candidates = candidates(changed, wanted, &names);
    let mut search = Search { restore, budget, names, from: None, found: Vec::new() };
    if !matches!(search.probe(&[]), Some(Ok(()))) {
        return Vec::new(); // testing is not possible now
    }
    // try the line named by the tool first
    if let Some(place) = &reported
        && let Some(at) = candidates.iter().position(|candidate| candidate.places.contains(place))
    {
        let first = candidates.swap_remove(at);
        search.bisect(std::slice::from_ref(&first));
    }
    search.bisect(&candidates);
    if search.found.is_empty() {
        // refused because of its position, not its content
        search.found.extend(reported.map(|(name, at)| (name, at, failure.reason())));
    }
    if search.found.is_empty() && restore.part != Part::Bridge {
        for chain in plan.with(PlannedAction::Update) {
            search.from = Some(chain);
            let own = self::candidates(std::iter::once(chain), wanted, &search.names);
            search.bisect(&own);
        }
    }
    search.found
}

/// The rules that jump to chains that do not exist.
fn dangling<R: BisectableChain>(plan: &TablePlan, wanted: &Chains<R>) -> Vec<RefusedRule> {
    let exists =
        |name: &ChainName| plan.chains.get(name).is_some_and(|planned| planned.action != PlannedAction::Delete);
    let mut found = Vec::new();
    for (name, chain) in wanted {
        for at in 0..chain.count() {
            if let Some(target) = chain.target(at).filter(|target| !exists(target)) {
                found.push((name.clone(), at, format!("there is no chain '{target}'")));
            }
        }
    }
    found
}

fn candidates<'a, R: BisectableChain>(
    chains: impl Iterator<Item = &'a ChainName>,
    wanted: &Chains<R>,
    [name, to]: &[ChainName; 2],
) -> Vec<CandidateRule> {
    let mut places: BTreeMap<String, Vec<(ChainName, usize)>> = BTreeMap::new();
    for chain in chains {
        let Some(rules) = wanted.get(chain) else { continue };
        for at in 0..rules.count() {
            places.entry(rules.probe(at, name, to)).or_default().push((chain.clone(), at));
        }
    }
    places.into_iter().map(|(line, places)| CandidateRule { line, places }).collect()
}

impl Search<'_> {
    /// Tests rules together. `None` if no attempts are left.
    fn probe(&mut self, rules: &[CandidateRule]) -> Option<Result<(), Failure>> {
        if !self.budget.take() {
            return None;
        }
        let [name, to] = &self.names;
        let (table, policy) = match self.restore.part {
            Part::Table(TableName::Raw, _) => ("raw", "- [0:0]"),
            Part::Bridge => ("filter", "ACCEPT"),
            _ => ("filter", "- [0:0]"),
        };
        let mut script = format!("*{table}\n:{name} {policy}\n:{to} {policy}\n");
        for rule in rules {
            script.push_str(&rule.line);
            script.push('\n');
        }
        // matches no packet: the value has a bit outside of the mask
        let jump = self.from.map(|from| format!("{from} -m mark --mark 0x1/0x0 -j {name}\n"));
        let [add, delete] =
            ["-A", "-D"].map(|how| jump.as_ref().map(|jump| format!("{how} {jump}")).unwrap_or_default());
        script += &format!("{add}COMMIT\n");
        let result = self.restore.run(&script);
        if result.is_ok() {
            // if this fails, the next update removes the chains
            let _ = self.restore.run(&format!("*{table}\n{delete}-F {name}\n-F {to}\n-X {name}\n-X {to}\nCOMMIT\n"));
        }
        Some(result)
    }

    fn bisect(&mut self, rules: &[CandidateRule]) {
        if rules.is_empty() {
            return;
        }
        match self.probe(rules) {
            Some(Err(failure)) if failure.is_refusal() => match rules {
                [one] => {
                    let reason = failure.reason();
                    self.found.extend(one.places.iter().map(|(name, at)| (name.clone(), *at, reason.clone())));
                }
                _ => {
                    let (left, right) = rules.split_at(rules.len() / 2);
                    self.bisect(left);
                    self.bisect(right);
                }
            },
            _ => {}
        }
    }
}
