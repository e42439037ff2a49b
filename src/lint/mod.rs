//! Errors and likely mistakes in a configuration.
//!
//! Errors come from `config` and `compile`; this module adds suggestions to them, and the lints, with a file for each.

mod access;
mod covers;
mod files;
mod inactive;
mod interfaces;
mod ipfilter;
mod shadowed;
mod suggest;
mod unread;
mod unused;

use crate::model::Report;
pub use files::place;
pub use suggest::nearest;
pub use unread::unread;

use crate::builtin::databases::Databases;
use crate::config::ConfigCache;
use crate::inputs::{Facts, Tree};
use crate::iptables::compile::Compiler;
use files::{Files, OtherFiles};
use std::collections::BTreeMap;
use std::sync::Arc;
use suggest::Vocabulary;

/// A report with suggestions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The report.
    pub report: Report,
    /// The text of the line; empty for a report about a whole file.
    pub line: String,
    /// A suggestion for each of its marks.
    pub help: Vec<Option<String>>,
}

impl From<Report> for Finding {
    /// A report about a whole file, to which there is nothing to suggest.
    fn from(report: Report) -> Self {
        Finding { report, line: String::new(), help: Vec::new() }
    }
}

/// Checks all files of a tree for this node, in the order of files and lines.
#[must_use]
pub fn check(tree: &Tree, facts: &Facts) -> Vec<Finding> {
    Checker::default().check(tree, facts)
}

/// Checks trees one after another: files and rules that are the same as before are not parsed and compiled again.
#[derive(Default)]
pub struct Checker {
    cache: ConfigCache,
    compiler: Compiler,
    tables: crate::nftables::compile::Compiler,
}

impl Checker {
    /// Checks all files of a tree for this node, in the order of files and lines.
    #[must_use]
    pub fn check(&mut self, tree: &Tree, facts: &Facts) -> Vec<Finding> {
        let configuration = self.cache.read(tree, facts);
        let compiled = self.compiler.compile_configuration(&configuration, facts);
        let mut reports = compiled.reports.clone();
        let other = OtherFiles::read(tree, &configuration, &mut reports);
        let files = Files::of(tree, &configuration, &other);
        inactive::inactive(&files, facts.now, &mut reports);
        shadowed::shadowed(&files, &mut reports);
        unused::unused(&files, &mut reports);
        ipfilter::ipfilter(&files, &mut reports);
        interfaces::interfaces(&files, facts, &mut reports);
        let tables = compiled.nftables.then(|| self.tables.compile(&configuration, facts));
        let enforced = match &tables {
            Some(tables) => access::Enforced::Nftables(tables),
            None => access::Enforced::Iptables(&compiled.ruleset),
        };
        access::access(&files, &compiled, &enforced, facts, &mut reports);
        reports.sort();
        reports.dedup();
        let mut texts = SourceLines { tree, by_file: BTreeMap::new() };
        let finding = |report: Report| finding(texts.line(&report), report, &files, &configuration.databases);
        reports.into_iter().map(finding).collect()
    }
}

fn finding(line: String, report: Report, files: &Files<'_>, databases: &Databases) -> Finding {
    let guest = files.guests.iter().find(|one| one.guest.file == report.file);
    let guest = guest.map(|one| ("guest/", &one.guest.definitions));
    let words = Vocabulary {
        databases,
        scopes: guest.into_iter().chain([("dc/", &files.cluster.definitions)]).collect(),
        groups: files.cluster.groups.keys().map(String::as_str).collect(),
    };
    let help = report.marks.iter().map(|mark| {
        let word = line.get(mark.span.start..mark.span.end)?;
        words.help(word, mark.sought.as_ref()?, &line)
    });
    let help = help.collect();
    Finding { report, line, help }
}

/// The lines of the files in reports.
struct SourceLines<'a> {
    tree: &'a Tree,
    by_file: BTreeMap<Arc<str>, Vec<String>>,
}

impl SourceLines<'_> {
    fn line(&mut self, report: &Report) -> String {
        let lines = self.by_file.entry(report.file.clone()).or_insert_with(|| {
            let path = report.file.strip_prefix(&self.tree.root).and_then(|path| path.strip_prefix('/'));
            let text = path.and_then(|path| self.tree.content(path)).map(String::from_utf8_lossy).unwrap_or_default();
            text.split('\n').map(ToString::to_string).collect()
        });
        let index = report.line.and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
        index.and_then(|index| lines.get(index)).cloned().unwrap_or_default()
    }
}
