//! Files that are given in place of those of the configuration.
use super::output;
use crate::inputs::{Content, File, Tree};
use crate::lint::{self, Finding};
use crate::model::guest::parse_vmid;
use crate::paths::TreeFile;
use crate::pmxcfs::facts::FactsSource;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A file that is given in place of one of the configuration.
#[derive(Debug)]
pub(super) struct Given {
    /// Where it lies.
    pub file: PathBuf,
    /// Which file of the tree it is in place of.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Whether its content said what it is, as its name does not.
    by_content: bool,
}

/// The files that are given, none of them for the same place as another.
#[derive(Debug, Default)]
pub(super) struct Candidates(pub Vec<Given>);

impl Candidates {
    /// Reads the files, for this node.
    ///
    /// # Errors
    /// When one cannot be read, or two are for the same place.
    pub(super) fn read(files: &[PathBuf], node: &str) -> Result<Self> {
        let mut given: Vec<Given> = Vec::new();
        for file in files {
            let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let place = lint::place(&std::path::absolute(file)?.to_string_lossy(), &content, node);
            if let Some(other) = given.iter().find(|other| other.path == place.path) {
                let (one, other) = (file.display(), other.file.display());
                bail!("{other} and {one} are both in place of {}: give one of them", place.path);
            }
            if place.by_content {
                let name = file.display();
                let taken = &place.path;
                output::note(&format!(
                    "{name}: the kind of this file is not clear from its name; according to its content it is taken as {taken}"
                ));
            }
            let by_content = place.by_content;
            given.push(Given { file: file.clone(), path: place.path, content: content.into(), by_content });
        }
        Ok(Candidates(given))
    }

    /// Refuses files that have no place in the configuration of this node.
    ///
    /// # Errors
    /// When there is one.
    pub(super) fn only_for(&self, node: &str) -> Result<()> {
        for Given { file, path, by_content, .. } in &self.0 {
            let name = file.display();
            match TreeFile::parse(path) {
                Some(TreeFile::Host(other)) if other != node => {
                    bail!("{name} is for the node {other}: try it there")
                }
                Some(TreeFile::Guest(id)) if parse_vmid(id).is_none() => bail!(
                    "{name} is named like no file of the configuration: name it cluster.fw, host.fw or <VMID>.fw, or give \
                     its path below /etc/pve"
                ),
                Some(TreeFile::Vnet(_)) if *by_content => {
                    bail!("{name} does not say which vnet it is for: give it as sdn/firewall/<VNET>.fw")
                }
                Some(file) if file.is_needed_on(node) => {}
                _ => bail!("{name} is named like no file of the configuration: {path} is none that the firewall reads"),
            }
        }
        Ok(())
    }

    /// The tree with the files in place of its own.
    pub(super) fn over(&self, tree: &Tree) -> Tree {
        let mut tree = tree.clone();
        for Given { path, content, .. } in &self.0 {
            tree.files.insert(path.as_str().into(), File::Content(content.clone()));
        }
        tree
    }

    /// What is found in the files, under their own names, and what is new elsewhere in the tree because of them.
    pub(super) fn findings(&self, tree: &Tree, facts: &mut FactsSource) -> Vec<Finding> {
        let before = lint::check(tree, &facts.collect(tree));
        let with = self.over(tree);
        let mut kept = Vec::new();
        for mut finding in lint::check(&with, &facts.collect(&with)) {
            if let Some(name) = self.name_of(tree, &finding.report.file) {
                finding.report.file = name;
            } else if before.contains(&finding) {
                continue;
            }
            kept.push(finding);
        }
        kept
    }

    /// The name of the given file that is in place of the one that reports name so.
    pub(super) fn name_of(&self, tree: &Tree, label: &str) -> Option<Arc<str>> {
        let given = self.0.iter().find(|given| *tree.label(&given.path) == *label)?;
        Some(given.file.to_string_lossy().into())
    }
}
