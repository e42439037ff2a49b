//! `preview`: the changes with other files in place of those of the configuration, and the current connections that would be
//! refused.
mod current_connections;
mod render;

pub(super) use current_connections::CurrentConnections;

use super::args::PreviewOptions;
use super::given_files::GivenFiles;
use super::{Context, check, load, output, require_root};
use crate::backend::{Compiled, Rules};
use crate::config::in_force;
use crate::connections::{AddressOwners, Comparison, RulesChange, compare};
use crate::daemon::cut_connections::node_network;
use crate::facts::FactsSource;
use crate::inputs::{File, Tree};
use crate::lint::Diagnostic;
use crate::listing::Difference;
use crate::model::{BackendKind, Origin, Severity};
use crate::parallel;
use crate::system::process::processors;
use crate::trial::TrialStore;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) fn run(context: &Context, options: &PreviewOptions) -> Result<()> {
    require_root(context, "preview")?;
    let preview = Preview::make(context, &options.files, options.diff)?;
    let text = if options.json { render::json(&preview)? } else { preview.text(options.diff) };
    output::data(&text)?;
    preview.permit(options.force)
}

/// The effect of the given files.
pub(super) struct Preview {
    /// The candidates.
    pub files: GivenFiles,
    /// The tree without them.
    pub tree: Tree,
    /// The backends that enforce the configuration now and with the given files: one, or both if they select the other.
    pub backends: Vec<BackendKind>,
    /// The findings of `check`.
    findings: Vec<Diagnostic>,
    /// The chains and sets that would change; line by line only if requested.
    difference: Difference,
    /// Warnings about traffic that would be accepted.
    warnings: Vec<String>,
    /// The current connections and their verdicts.
    current: CurrentConnections,
    comparison: Comparison,
}

impl Preview {
    /// Checks and compiles the given files, determines the changed lines if `diff`, and simulates the current connections with
    /// both rulesets.
    ///
    /// # Errors
    /// When a given file does not belong to the configuration, or the tree or the live rules cannot be read.
    pub(super) fn make(context: &Context, paths: &[PathBuf], diff: bool) -> Result<Self> {
        let node = context.node()?;
        let tree = load::tree(context, &node)?;
        let files = GivenFiles::read(paths, &node, &tree)?;
        files.only_for(&node)?;
        for file in &files.0 {
            if let Some(File::Unreadable(why)) = tree.files.get(file.path.as_str()) {
                bail!("{} cannot be read: {why}", tree.label(&file.path));
            }
        }
        let facts = || load::facts_source(context, node.clone());
        let known = load::with_last_valid(context, &node, tree.clone());
        let ((current, findings), change) = parallel::both(
            processors(),
            || parallel::both(processors(), CurrentConnections::now, || files.findings(&tree, &mut facts())),
            || RulesetChange::make(context, &files, &known, facts(), diff),
        );
        let RulesetChange { before, after, backends, difference } = change?;
        let owners = AddressOwners::new(&tree, &node, node_network());
        let affected = before.rules.change_to(&after.rules);
        let change = RulesChange {
            before: &|sent| before.rules.decide(sent),
            after: &|sent| after.rules.decide(sent),
            affected: &|from, to, layer| affected.as_ref().and_then(|affected| affected(from, to, layer)),
        };
        let comparison = compare(&current.connections, &owners, &change, processors());
        let warnings = warnings(&before, &after);
        Ok(Preview { files, tree, backends, findings, difference, warnings, current, comparison })
    }

    /// The text output, with the changed lines if `diff`.
    pub(super) fn text(&self, diff: bool) -> String {
        render::text(self, diff)
    }

    /// Whether the files differ from those of the tree.
    pub(super) fn changes_files(&self) -> bool {
        let same = |path: &str, content: &[u8]| self.tree.content(path).unwrap_or_default() == content;
        self.files.0.iter().any(|file| !same(&file.path, &file.content))
    }

    /// Checks that the given files have no errors and do not refuse the caller's own session.
    ///
    /// # Errors
    /// In these two cases, unless forced.
    pub(super) fn permit(&self, force: bool) -> Result<()> {
        if force {
            return Ok(());
        }
        let errors = self.findings.iter().filter(|finding| finding.report.severity == Severity::Error).count();
        if errors > 0 {
            output::note(check::render::text(&self.findings).trim_end());
            let lines =
                if errors == 1 { "1 line is ignored".to_string() } else { format!("{errors} lines are ignored") };
            bail!("{lines}; fix this and try again, or use '--force'");
        }
        let own = self.comparison.refused.iter().find(|one| self.current.is_own(&one.connection));
        if let Some(own) = own {
            let by = self.origin(&own.origin);
            bail!(
                "this would end the connection that you are using: {} ({by}); add a rule that accepts it, or go on with \
                 '--force'",
                own.connection.original
            );
        }
        Ok(())
    }

    /// The origin of a rule, with the names of given files.
    fn origin(&self, origin: &Origin) -> String {
        match origin {
            Origin::Line(file, line) => match self.files.name_of(&self.tree, file) {
                Some(name) => format!("{name}:{line}"),
                None => origin.to_string(),
            },
            Origin::Default(..) | Origin::Generated(_) => origin.to_string(),
        }
    }
}

/// The rules now and with the given files.
struct RulesetChange {
    before: Compiled,
    after: Compiled,
    /// The backends that enforce them: one or both.
    backends: Vec<BackendKind>,
    /// The changes of the live rules.
    difference: Difference,
}

impl RulesetChange {
    fn make(context: &Context, files: &GivenFiles, known: &Tree, facts: FactsSource, diff: bool) -> Result<Self> {
        let mut facts = facts;
        // during a trial, the current rules are those of the trial
        let on_trial = TrialStore::new(&context.root).load().ok().flatten();
        let on_trial = on_trial.map_or_else(|| known.clone(), |trial| trial.overlay(known));
        let (mut backend, before) = load::compile_in_use(context, &on_trial, &facts.collect(&on_trial));
        let wanted = in_force(&Arc::new(files.overlay(known)), Some(known)).tree;
        let after = backend.compile(&wanted, facts.collect(&wanted));
        let Some(mut other) = load::other_in_use(context, &backend, &after) else {
            let difference = backend.difference(&after.rules, diff)?;
            return Ok(RulesetChange { before, after, backends: vec![backend.kind()], difference });
        };
        let after = other.compile(&wanted, facts.collect(&wanted));
        let mut difference = other.difference(&after.rules, diff)?;
        let Difference { changes, refused } = backend.difference(&Rules::empty(backend.kind()), diff)?;
        difference.changes.extend(changes);
        difference.refused.extend(refused);
        Ok(RulesetChange { before, after, backends: vec![backend.kind(), other.kind()], difference })
    }
}

/// Warnings about parts of the firewall that would be disabled.
fn warnings(before: &Compiled, after: &Compiled) -> Vec<String> {
    let mut warnings = Vec::new();
    if before.enabled && !after.enabled {
        warnings.push(
            "the firewall is disabled: all traffic is accepted on this node and, once confirmed, on every node of the cluster".into(),
        );
        return warnings;
    }
    if before.filtered.host && !after.filtered.host {
        warnings.push("the firewall of the node itself is disabled: all traffic to the node is accepted".into());
    }
    let unfiltered = before.filtered.devices.saturating_sub(after.filtered.devices);
    if unfiltered > 0 {
        let devices =
            if unfiltered == 1 { "1 network device".to_string() } else { format!("{unfiltered} network devices") };
        warnings.push(format!("{devices} of guests would have no rules: all their traffic is accepted"));
    }
    if before.nftables != after.nftables {
        let name = if after.nftables { "nftables" } else { "iptables" };
        warnings.push(format!("host.fw selects the other backend, {name}: running guests must be restarted"));
    }
    warnings
}
