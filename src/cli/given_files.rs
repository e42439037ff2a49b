//! Files given as arguments in place of those of the configuration.
use super::{load, output};
use crate::facts::FactsSource;
use crate::inputs::{Content, File, Tree};
use crate::lint::{self, Checker, Diagnostic};
use crate::model::guest::parse_vmid;
use crate::paths::TreeFile;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A file given in place of one of the configuration.
#[derive(Debug)]
pub(super) struct GivenFile {
    /// Its path on disk.
    pub file: PathBuf,
    /// The file of the tree that it replaces.
    pub path: String,
    /// The content.
    pub content: Content,
    /// Whether its kind was derived from its content instead of its name.
    by_content: bool,
}

/// The given files, which replace different files.
#[derive(Debug, Default)]
pub(super) struct GivenFiles(pub Vec<GivenFile>);

impl GivenFiles {
    /// Reads the files, for this node and the vnets of this tree.
    ///
    /// # Errors
    /// When one cannot be read, or two replace the same file.
    pub(super) fn read(files: &[PathBuf], node: &str, tree: &Tree) -> Result<Self> {
        let vnets = lint::vnets(tree);
        let mut given: Vec<GivenFile> = Vec::new();
        for file in files {
            let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let place = lint::place(&std::path::absolute(file)?.to_string_lossy(), &content, node, &vnets);
            if let Some(other) = given.iter().find(|other| other.path == place.path) {
                let (one, other) = (file.display(), other.file.display());
                bail!("{other} and {one} both replace {}: give only one of them", place.path);
            }
            if place.by_content {
                let name = file.display();
                let taken = &place.path;
                output::note(&format!(
                    "{name}: the kind of this file is not clear from its name; according to its content it is treated as {taken}"
                ));
            }
            let by_content = place.by_content;
            given.push(GivenFile { file: file.clone(), path: place.path, content: content.into(), by_content });
        }
        Ok(GivenFiles(given))
    }

    /// Checks that all files belong to the configuration of this node.
    ///
    /// # Errors
    /// When one does not.
    pub(super) fn only_for(&self, node: &str) -> Result<()> {
        for GivenFile { file, path, by_content, .. } in &self.0 {
            let name = file.display();
            match TreeFile::parse(path) {
                Some(TreeFile::Host(other)) if other != node => {
                    bail!("{name} is for the node {other}: try it there")
                }
                Some(TreeFile::Guest(id)) if parse_vmid(id).is_none() => bail!(
                    "{name} does not have the name of a configuration file: name it cluster.fw, host.fw, <VMID>.fw or \
                     sdn/firewall/<VNET>.fw"
                ),
                Some(TreeFile::Vnet(_)) if *by_content => {
                    bail!("the vnet of {name} is not clear from its name: use sdn/firewall/<VNET>.fw")
                }
                Some(file) if file.is_needed_on(node) => {}
                _ => bail!("{name} does not have the name of a configuration file: the firewall does not read {path}"),
            }
        }
        Ok(())
    }

    /// The tree with the files in place of its own.
    pub(super) fn overlay(&self, tree: &Tree) -> Tree {
        let mut tree = tree.clone();
        for GivenFile { path, content, .. } in &self.0 {
            tree.files.insert(path.as_str().into(), File::Content(content.clone()));
        }
        tree
    }

    /// The findings in the files, with the given names, and new findings in other files of the tree.
    pub(super) fn findings(&self, tree: &Tree, facts: &mut FactsSource) -> Vec<Diagnostic> {
        let with = self.overlay(tree);
        let (facts, facts_with) = (facts.collect(tree), facts.collect(&with));
        let mut checker = Checker::new(load::interfaces(&facts.node));
        let before = checker.check(tree, &facts);
        let mut kept = Vec::new();
        for mut finding in checker.check(&with, &facts_with) {
            if let Some(name) = self.name_of(tree, &finding.report.file) {
                finding.report.file = name;
            } else if before.contains(&finding) {
                continue;
            }
            kept.push(finding);
        }
        kept
    }

    /// The given file that replaces the one with this name in reports.
    pub(super) fn name_of(&self, tree: &Tree, label: &str) -> Option<Arc<str>> {
        let given = self.0.iter().find(|given| *tree.label(&given.path) == *label)?;
        Some(given.file.to_string_lossy().into())
    }
}
