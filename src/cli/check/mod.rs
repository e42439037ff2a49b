//! `check`: what is wrong in the configuration, or would be with other files in their place.
use super::args::CheckOptions;
use super::{Context, load, output};
use crate::inputs::{File, Tree};
use crate::lint::{self, Finding};
use crate::model::Severity;
use crate::paths::{NODES_FOLDER, TreeFile};
use crate::pmxcfs::facts::FactsSource;
use crate::system::files;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

mod render;

pub(super) fn run(context: &Context, options: &CheckOptions) -> Result<()> {
    let node = context.node()?;
    let mut tree = match load::tree(context, &node) {
        Ok(tree) => tree,
        Err(problem) if options.files.is_empty() => return Err(problem),
        Err(problem) => {
            output::note(&format!("{problem:#}: the files are checked without the rest of the configuration"));
            Tree { root: context.config.to_string_lossy().into_owned(), ..Tree::default() }
        }
    };
    other_hosts(&mut tree)?;
    let mut facts = FactsSource::new(context.root.clone(), node.clone());
    let before = if options.files.is_empty() { Vec::new() } else { lint::check(&tree, &facts.collect(&tree)) };
    let mut given = Vec::new();
    for file in &options.files {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let place = lint::place(&std::path::absolute(file)?.to_string_lossy(), &content, &node);
        if place.by_content {
            output::note(&format!(
                "{}: the name does not tell what it is; by its content it is checked as {}",
                file.display(),
                place.path
            ));
        }
        given.push((tree.label(&place.path), file.as_path()));
        tree.files.insert(place.path.into(), File::Content(content.into()));
    }
    let mut findings = lint::check(&tree, &facts.collect(&tree));
    if !given.is_empty() {
        findings = of_files(findings, &before, &given);
    }
    let text = if options.json { render::json(&findings)? } else { render::text(&findings) };
    output::data(&text)?;
    let count = |severity| findings.iter().filter(|finding| finding.report.severity == severity).count();
    match count(Severity::Error) {
        0 => Ok(()),
        1 => bail!("the line is ignored; fix it and check again"),
        errors => bail!("the {errors} lines are ignored; fix them and check again"),
    }
}

/// The host.fw files of other nodes, which compiling does not need.
fn other_hosts(tree: &mut Tree) -> Result<()> {
    let root = Path::new(&tree.root).join(NODES_FOLDER);
    let Ok(nodes) = fs::read_dir(&root) else { return Ok(()) };
    for node in nodes.flatten() {
        let path = TreeFile::Host(&node.file_name().to_string_lossy()).to_string();
        if !tree.files.contains_key(path.as_str())
            && let Some(content) = files::read_optional(&Path::new(&tree.root).join(&path))?
        {
            tree.files.insert(path.into(), File::Content(content.into()));
        }
    }
    Ok(())
}

/// What is found in the given files, under their own names, and what is new elsewhere because of them.
fn of_files(findings: Vec<Finding>, before: &[Finding], given: &[(std::sync::Arc<str>, &Path)]) -> Vec<Finding> {
    let mut kept = Vec::new();
    for mut finding in findings {
        if let Some((_, file)) = given.iter().find(|(label, _)| *label == finding.report.file) {
            finding.report.file = file.to_string_lossy().into();
        } else if before.contains(&finding) {
            continue;
        }
        kept.push(finding);
    }
    kept
}
