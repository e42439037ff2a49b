//! Errors and likely mistakes in a configuration.
//!
//! Errors come from `config` and `compile`; this module adds suggestions to them, and the lints, with a file for each.

mod access;
mod covers;
mod inactive;
mod interfaces;
mod ipfilter;
mod kernel_settings;
mod parsed_files;
mod shadowed;
mod suggest;
mod unread;
mod unused;

use crate::model::{Lookup, Mark, Report};
pub use parsed_files::{place, vnets};
pub use suggest::nearest;
pub use unread::unread;

use crate::config::{ConfigCache, Configuration};
use crate::inputs::{Facts, Interfaces, Tree};
use crate::iptables::compile::Compiler;
use access::RulesInUse;
use parsed_files::{Files, GuestFile, OtherFiles};
use std::collections::BTreeMap;
use std::sync::Arc;
use suggest::{InvalidAliases, NameScope, Vocabulary};

/// A report with suggestions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The report.
    pub report: Report,
    /// The text of the line; empty for a report about a whole file.
    pub line: String,
    /// A suggestion for each of its marks.
    pub help: Vec<Option<String>>,
}

impl From<Report> for Diagnostic {
    /// A report about a whole file, without suggestions.
    fn from(report: Report) -> Self {
        Diagnostic { report, line: String::new(), help: Vec::new() }
    }
}

/// Checks all files of a tree for this node, in the order of files and lines. `interfaces` are those of this machine, which may
/// be another machine than the node.
#[must_use]
pub fn check(tree: &Tree, facts: &Facts, interfaces: Interfaces) -> Vec<Diagnostic> {
    Checker::new(interfaces).check(tree, facts)
}

/// Checks trees one after another: unchanged files and rules are not parsed and compiled again.
pub struct Checker {
    cache: ConfigCache,
    iptables: Compiler,
    nftables: crate::nftables::compile::Compiler,
    interfaces: Interfaces,
}

impl Checker {
    /// A checker with the interfaces of this machine, which may be another machine than the node.
    #[must_use]
    pub fn new(interfaces: Interfaces) -> Self {
        Checker {
            cache: ConfigCache::default(),
            iptables: Compiler::default(),
            nftables: crate::nftables::compile::Compiler::default(),
            interfaces,
        }
    }

    /// Checks all files of a tree for this node, in the order of files and lines.
    #[must_use]
    pub fn check(&mut self, tree: &Tree, facts: &Facts) -> Vec<Diagnostic> {
        let configuration = self.cache.read(tree, facts);
        let (rules, mut reports) = self.compile(&configuration, facts);
        let other = OtherFiles::read(tree, &configuration, &mut reports);
        let files = Files::of(tree, &configuration, &other);
        inactive::inactive(&files, facts.now, &mut reports);
        shadowed::shadowed(&files, &mut reports);
        unused::unused(&files, &mut reports);
        ipfilter::ipfilter(&files, &mut reports);
        kernel_settings::settings(&files, &mut reports);
        interfaces::interfaces(&files, &configuration, facts, &self.interfaces, &mut reports);
        let is_copy = interfaces::is_copy(&configuration, facts, &self.interfaces);
        access::access(&files, &configuration, &rules, facts, is_copy, &mut reports);
        reports.sort();
        reports.dedup();
        let mut texts = SourceLines { tree, by_file: BTreeMap::new() };
        let lines: Vec<(String, Report)> = reports.into_iter().map(|report| (texts.line(&report), report)).collect();
        let invalid_aliases = invalid_aliases(&lines);
        let vocabularies =
            Vocabularies { files: &files, configuration: &configuration, invalid_aliases: &invalid_aliases };
        lines.into_iter().map(|(line, report)| diagnostic(line, report, &vocabularies)).collect()
    }

    /// The rules of the backend that host.fw selects, with the reports about the files and about the limits of this backend.
    fn compile(&mut self, configuration: &Arc<Configuration>, facts: &Facts) -> (RulesInUse, Vec<Report>) {
        if configuration.host.options.nftables {
            let ruleset = self.nftables.compile(configuration, facts);
            return (RulesInUse::Nftables(ruleset), crate::nftables::unsupported_values::reports(configuration));
        }
        let compiled = self.iptables.compile_configuration(configuration, facts);
        (RulesInUse::Iptables(compiled.ruleset), compiled.reports)
    }
}

/// The aliases whose definition has an error.
fn invalid_aliases(lines: &[(String, Report)]) -> InvalidAliases {
    let invalid_aliases = lines.iter().filter_map(|(line, report)| {
        let of_alias = |mark: &Mark| matches!(mark.lookup, Some(Lookup::AliasLine | Lookup::AliasAddress));
        report.marks.iter().any(of_alias).then_some(())?;
        let name = line.split([' ', '\t', '=', ':']).find(|word| !word.is_empty())?;
        Some(((report.file.to_string(), name.to_ascii_lowercase()), report.line?))
    });
    invalid_aliases.collect()
}

/// The vocabulary of each file, by its name in reports.
struct Vocabularies<'a> {
    files: &'a Files<'a>,
    configuration: &'a Configuration,
    invalid_aliases: &'a InvalidAliases,
}

impl<'a> Vocabularies<'a> {
    fn of(&self, file: &str) -> Vocabulary<'a> {
        let Vocabularies { files, configuration, invalid_aliases } = *self;
        let (own, others): (Vec<_>, Vec<_>) = files.guests.iter().partition(|one| *one.guest.file == *file);
        let scope = |one: &&'a GuestFile<'a>| NameScope {
            prefix: "guest/",
            file: &one.guest.file,
            definitions: &one.guest.definitions,
        };
        let cluster = NameScope { prefix: "dc/", file: &files.cluster.file, definitions: &files.cluster.definitions };
        let links = own.iter().filter_map(|one| one.conf.as_ref()).flat_map(|conf| &conf.links);
        Vocabulary {
            databases: &configuration.databases,
            scopes: own.iter().map(scope).chain([cluster]).collect(),
            others: others.iter().map(|one| (&*one.guest.file, &one.guest.definitions)).collect(),
            invalid_aliases,
            sdn: &configuration.sdn.names,
            groups: files.cluster.groups.keys().map(String::as_str).collect(),
            devices: links.map(|link| (format!("net{}", link.device.index), link.bridge.clone())).collect(),
        }
    }
}

fn diagnostic(line: String, report: Report, vocabularies: &Vocabularies<'_>) -> Diagnostic {
    let words = report.marks.iter().any(|mark| mark.lookup.is_some()).then(|| vocabularies.of(&report.file));
    let help = report.marks.iter().map(|mark| {
        let word = line.get(mark.span.start..mark.span.end)?;
        words.as_ref()?.help(word, mark.lookup.as_ref()?, &line)
    });
    let help = help.collect();
    Diagnostic { report, line, help }
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
