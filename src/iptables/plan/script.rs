//! Scripts for the restore tools.
use super::diff::{Planned, SetPlan, TablePlan};
use super::live::HookJump;
use crate::iptables::names;
use crate::iptables::ruleset::{BridgeChain, ChainName, Chains, MacStyle, Ruleset, SetName, Table, TableName};
use crate::listing::PlannedAction;
use std::fmt::{Display, Write};

/// Lines for a restore tool, and the chain or set of each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script<N> {
    /// The lines.
    pub text: String,
    lines: usize,
    /// The number of the first line of each block, ascending.
    blocks: Vec<(usize, Option<N>)>,
}

impl<N: Clone> Script<N> {
    fn new() -> Self {
        Script { text: String::new(), lines: 0, blocks: Vec::new() }
    }

    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.text, "{line}"); // writing to a String cannot fail
        self.lines += 1;
    }

    /// Assigns the following lines to `owner`.
    fn block(&mut self, owner: Option<N>) {
        self.blocks.push((self.lines + 1, owner));
    }

    /// The chains or sets with lines, in the order of the script.
    pub fn owners(&self) -> impl Iterator<Item = &N> {
        self.blocks.iter().filter_map(|(_, owner)| owner.as_ref())
    }

    /// The owner of a line (counted from 1), and the index of the line in its block (counted from 0).
    #[must_use]
    pub fn owner(&self, line: usize) -> Option<(&N, usize)> {
        let at = self.blocks.partition_point(|(first, _)| *first <= line).checked_sub(1)?;
        let (first, owner) = &self.blocks[at];
        owner.as_ref().map(|owner| (owner, line - first))
    }
}

/// The script for `iptables-restore -n` that applies the plan of one table. The blocks are the rules of the chains, each
/// followed by its signature.
#[must_use]
pub fn table_script(plan: &TablePlan, wanted: &Table, table: TableName) -> Script<ChainName> {
    let mut script = head(plan, table.as_str(), "- [0:0]");
    for (name, planned) in changed(plan) {
        // a created chain is empty, and iptables-nft-restore takes ten times as long with a flush of each
        if planned.action == PlannedAction::Update {
            script.line(format_args!("-F {name}"));
        }
        script.block(Some(name.clone()));
        for line in wanted.get(name).iter().flat_map(|chain| chain.lines(name)) {
            script.line(line);
        }
        if let Some(signature) = planned.signature {
            script.line(format_args!("-A {name} -m comment --comment \"PVESIG:{signature}\""));
        }
        script.block(None);
    }
    tail(&mut script, plan);
    script.line("COMMIT");
    script
}

/// The script for `ebtables-restore --noflush` that applies the plan of the ebtables chains.
#[must_use]
pub fn bridge_script(plan: &TablePlan, wanted: &Chains<BridgeChain>, style: MacStyle) -> Script<ChainName> {
    let mut script = head(plan, "filter", "ACCEPT");
    for (name, _) in changed(plan) {
        script.line(format_args!("-F {name}"));
        script.block(Some(name.clone()));
        for line in wanted.get(name).iter().flat_map(|chain| chain.lines(name, style)) {
            script.line(line);
        }
        script.block(None);
    }
    tail(&mut script, plan);
    script
}

fn head(plan: &TablePlan, table: &str, policy: &str) -> Script<ChainName> {
    let mut script = Script::new();
    script.line(format_args!("*{table}"));
    for name in plan.with(PlannedAction::Create) {
        script.line(format_args!(":{name} {policy}"));
    }
    for HookJump { chain, to, first } in &plan.missing_hooks {
        script.line(format_args!("{} {chain} -j {to}", if *first { "-I" } else { "-A" }));
    }
    script
}

fn tail(script: &mut Script<ChainName>, plan: &TablePlan) {
    for (HookJump { chain, to, first: _ }, count) in &plan.surplus_hooks {
        for _ in 0..*count {
            script.line(format_args!("-D {chain} -j {to}"));
        }
    }
    for name in plan.with(PlannedAction::Delete) {
        script.line(format_args!("-F {name}"));
    }
    for name in plan.with(PlannedAction::Delete).filter(|name| !plan.pinned.contains(*name)) {
        script.line(format_args!("-X {name}"));
    }
}

fn changed(plan: &TablePlan) -> impl Iterator<Item = (&ChainName, &Planned)> {
    plan.chains.iter().filter(|(_, planned)| matches!(planned.action, PlannedAction::Create | PlannedAction::Update))
}

/// The script for `ipset restore` that creates and changes sets, one block each, except those for which `skip` is true.
#[must_use]
pub fn sets_script(plan: &SetPlan, wanted: &Ruleset, skip: impl Fn(&SetName) -> bool) -> Script<SetName> {
    let mut script = Script::new();
    for name in plan.stale.iter().filter(|name| !skip(name)) {
        script.block(Some(name.clone()));
        script.line(format_args!("destroy {name}"));
    }
    for (action, name) in [PlannedAction::Create, PlannedAction::Update]
        .into_iter()
        .flat_map(|action| plan.with(action).map(move |name| (action, name)))
    {
        let Some(set) = wanted.sets.get(name).filter(|_| !skip(name)) else { continue };
        script.block(Some(name.clone()));
        if plan.retyped.contains(name) {
            script.line(format_args!("destroy {name}"));
        }
        if action == PlannedAction::Create || plan.retyped.contains(name) {
            set.lines(name).for_each(|line| script.line(line));
        } else if let Some(swap) = names::swap_set(name) {
            set.lines(&swap).for_each(|line| script.line(line));
            script.line(format_args!("swap {swap} {name}"));
            script.line(format_args!("flush {swap}"));
            script.line(format_args!("destroy {swap}"));
        }
    }
    script
}

/// The script for `ipset restore` that removes the sets that are no longer wanted, one block each, except those for which
/// `skip` is true.
#[must_use]
pub fn removed_sets_script(plan: &SetPlan, skip: impl Fn(&SetName) -> bool) -> Script<SetName> {
    let mut script = Script::new();
    for name in plan.with(PlannedAction::Delete).filter(|name| !skip(name)) {
        script.block(Some(name.clone()));
        script.line(format_args!("flush {name}"));
        script.line(format_args!("destroy {name}"));
    }
    script
}
