//! `check`: checks the configuration, or given files in place of those of the configuration.
use super::args::CheckOptions;
use super::candidates::Candidates;
use super::{Context, load, output};
use crate::inputs::{File, Tree};
use crate::lint;
use crate::model::Severity;
use crate::paths::{NODES_FOLDER, TreeFile};
use crate::system::files;
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;

pub(super) mod render;

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
    let mut facts = load::facts_source(context, node.clone());
    let candidates = Candidates::read(&options.files, &node)?;
    let findings = match options.files.is_empty() {
        true => lint::check(&tree, &facts.collect(&tree)),
        false => candidates.findings(&tree, &mut facts),
    };
    let text = if options.json { render::json(&findings)? } else { render::text(&findings) };
    output::data(&text)?;
    let count = |severity| findings.iter().filter(|finding| finding.report.severity == severity).count();
    match count(Severity::Error) {
        0 => Ok(()),
        1 => bail!("the line is ignored; fix it and check again"),
        errors => bail!("the {errors} lines are ignored; fix them and check again"),
    }
}

/// Adds the host.fw files of other nodes, which are not needed for compiling.
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
