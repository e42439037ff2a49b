//! The script for `nft -f -` that applies a plan in one transaction.
use super::diff::{ChainChange, Plan, SetChange, TablePlan};
use super::rule_edits::{Edit, InsertPosition};
use crate::model::Interface;
use crate::nftables::names::TableName;
use crate::nftables::ruleset::{Chain, Ruleset, Table};
use std::fmt::Write;

/// A script, and the rule of each line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    lines: usize,
    /// Sequences of lines with rules: the first line, the chain, and the index of the first rule.
    runs: Vec<(usize, TableName, String, usize)>,
    /// The line after each sequence.
    ends: Vec<usize>,
}

impl Script {
    fn line(&mut self, line: impl std::fmt::Display) {
        // writing to a String never fails
        let _ = writeln!(self.text, "{line}");
        self.lines += 1;
    }

    /// The chain, and the index of the rule, of a line counted from 1.
    #[must_use]
    pub fn owner(&self, line: usize) -> Option<(TableName, &str, usize)> {
        let line = line.checked_sub(1)?;
        let at = self.runs.partition_point(|(first, ..)| *first <= line).checked_sub(1)?;
        let (first, table, chain, index) = &self.runs[at];
        (line < self.ends[at]).then(|| (*table, chain.as_str(), index + line - first))
    }

    fn rules(&mut self, table: TableName, name: &str, chain: &Chain) {
        self.runs.push((self.lines, table, name.to_string(), 0));
        for at in 0..chain.rules().len() {
            put_rule(chain, at, &mut self.text);
            self.text.push('\n');
        }
        self.lines += chain.rules().len();
        self.ends.push(self.lines);
    }

    fn rule(&mut self, before: &str, table: TableName, name: &str, chain: &Chain, at: usize) {
        self.runs.push((self.lines, table, name.to_string(), at));
        self.text.push_str(before);
        put_rule(chain, at, &mut self.text);
        self.text.push('\n');
        self.lines += 1;
        self.ends.push(self.lines);
    }
}

fn put_rule(chain: &Chain, at: usize, out: &mut String) {
    let last = at + 1 == chain.rules().len();
    chain.rules()[at].put_signed(last.then(|| chain.signature()), out);
}

/// The script for a plan.
#[must_use]
pub fn script(plan: &Plan, wanted: &Ruleset) -> Script {
    let mut script = Script::default();
    let none = Table::default();
    for (name, changes) in &plan.tables {
        let table = wanted.tables.get(name).unwrap_or(&none);
        Writer { name: *name, changes, table, script: &mut script }.write();
    }
    script
}

struct Writer<'a> {
    name: TableName,
    changes: &'a TablePlan,
    table: &'a Table,
    script: &'a mut Script,
}

impl Writer<'_> {
    fn write(mut self) {
        let name = self.name;
        if self.changes.deletes_table {
            // deleting a table that does not exist is an error
            self.script.line(format_args!("table {name}"));
            self.script.line(format_args!("delete table {name}"));
        }
        if self.changes.wanted {
            self.clear();
            self.make();
            self.fill();
            self.finish();
        }
    }

    fn chains(&self, which: impl Fn(&ChainChange) -> bool) -> Vec<&'_ str> {
        self.changes.chains.iter().filter(|(_, change)| which(change)).map(|(name, _)| name.as_str()).collect()
    }

    /// Deletes and flushes what has to be removed first.
    fn clear(&mut self) {
        let name = self.name;
        let flushed = self.chains(|change| matches!(change, ChainChange::Rewrite | ChainChange::Delete));
        let flushed: Vec<String> = flushed.iter().map(|chain| format!("flush chain {name} {chain}")).collect();
        flushed.iter().for_each(|line| self.script.line(line));
        for (chain, change) in &self.changes.chains {
            let ChainChange::Edit(edits) = change else { continue };
            for edit in edits {
                if let Edit::Delete(handle) = edit {
                    self.script.line(format_args!("delete rule {name} {chain} handle {handle}"));
                }
            }
        }
        for (map, (old, _)) in &self.changes.elements {
            self.elements("delete", map, old, |map, interface| map.key_text(interface));
        }
        for (set, change) in &self.changes.sets {
            match change {
                SetChange::Recreate | SetChange::Delete => self.script.line(format_args!("delete set {name} {set}")),
                SetChange::Refill => self.script.line(format_args!("flush set {name} {set}")),
                SetChange::Create => {}
            }
        }
        for object in &self.changes.old_objects {
            self.script.line(format_args!("delete ct helper {name} {object}"));
        }
    }

    /// Adds new and changed objects, and chains with their rules.
    fn make(&mut self) {
        let Table { chains, sets, maps, dynamic_sets, helpers } = self.table;
        self.script.line(format_args!("table {} {{", self.name));
        for (name, helper) in helpers.iter().filter(|(name, _)| self.changes.new_objects.contains(name.as_str())) {
            self.script.line(format_args!("ct helper {name} {{ {} }}", helper.declaration()));
        }
        let created = |name: &str| matches!(self.changes.sets.get(name), Some(SetChange::Create | SetChange::Recreate));
        for (name, set) in sets.iter().filter(|(name, _)| created(name.as_str())) {
            self.script.line(format_args!("set {name} {{ {} }}", set.declaration()));
        }
        for (name, set) in dynamic_sets.iter().filter(|(name, _)| created(name.as_str())) {
            self.script.line(format_args!("set {name} {{ {} }}", set.declaration()));
        }
        for (name, map) in maps.iter().filter(|(name, _)| created(name.as_str())) {
            self.script.line(format_args!("map {name} {{ {} }}", map.declaration()));
        }
        for (name, chain) in chains {
            if !matches!(self.changes.chains.get(name.as_str()), Some(ChainChange::Create | ChainChange::Rewrite)) {
                continue;
            }
            self.script.line(format_args!("chain {name} {{"));
            if let Some(hook) = chain.hook() {
                self.script.line(hook.text());
            }
            self.script.rules(self.name, name.as_str(), chain);
            self.script.line("}");
        }
        self.script.line("}");
    }

    /// Adds the elements of sets and maps.
    fn fill(&mut self) {
        for (name, set) in &self.table.sets {
            let changes = self.changes.sets.get(name.as_str());
            let elements = changes.map(|_| set.elements()).filter(|elements| !elements.is_empty());
            if let Some(elements) = elements {
                self.script.line(format_args!("add element {} {name} {{ {elements} }}", self.name));
            }
        }
        for (map, (_, new)) in &self.changes.elements {
            self.elements("add", map, new, |map, interface| match map.elements.get(interface) {
                Some(target) => map.element_text(interface, target),
                None => map.key_text(interface),
            });
        }
    }

    /// Changes single rules, and deletes chains that are no longer used.
    fn finish(&mut self) {
        let name = self.name;
        for (chain, change) in &self.changes.chains {
            let (ChainChange::Edit(edits), Some(wanted)) = (change, self.table.chains.get(chain.as_str())) else {
                continue;
            };
            for edit in edits {
                let (at, before) = match edit {
                    Edit::Insert(at, InsertPosition::First) => (*at, format!("insert rule {name} {chain} ")),
                    Edit::Insert(at, InsertPosition::Before(handle)) => {
                        (*at, format!("insert rule {name} {chain} handle {handle} "))
                    }
                    Edit::Insert(at, InsertPosition::Last) => (*at, format!("add rule {name} {chain} ")),
                    Edit::Delete(_) => continue,
                };
                self.script.rule(&before, name, chain, wanted, at);
            }
        }
        let deleted: Vec<String> = self
            .chains(|change| *change == ChainChange::Delete)
            .iter()
            .map(|chain| format!("delete chain {name} {chain}"))
            .collect();
        deleted.iter().for_each(|line| self.script.line(line));
    }

    fn elements(
        &mut self,
        verb: &str,
        name: &str,
        interfaces: &[Interface],
        text: impl Fn(&crate::nftables::ruleset::Map, &Interface) -> String,
    ) {
        let map = self.table.maps.get(name);
        let texts: Vec<String> = map.iter().flat_map(|map| interfaces.iter().map(|one| text(map, one))).collect();
        if !texts.is_empty() {
            self.script.line(format_args!("{verb} element {} {name} {{ {} }}", self.name, texts.join(", ")));
        }
    }
}
