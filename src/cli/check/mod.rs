//! `check`: checks the configuration, or given files in place of those of the configuration.
use super::args::CheckOptions;
use super::given_files::GivenFiles;
use super::{Context, load, output};
use crate::inputs::{File, Tree};
use crate::lint::{self, Diagnostic};
use crate::model::Severity;
use crate::model::guest::GuestKind;
use crate::paths::{FIREWALL_DIRECTORY, NODES_DIRECTORY, SDN_DIRECTORY, TreeFile, VNET_DIRECTORY, guest_directory};
use crate::system::files;
use anyhow::{Result, bail};
use std::fs::{self, FileType};
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
    let candidates = GivenFiles::read(&options.files, &node, &tree)?;
    let findings = match options.files.is_empty() {
        true => {
            let mut findings = lint::check(&tree, &facts.collect(&tree), load::interfaces(&node));
            findings.extend(lint::unread(&tree, &node, &names(&tree)).into_iter().map(Diagnostic::from));
            findings
        }
        false => candidates.findings(&tree, &mut facts),
    };
    let text = if options.json { render::json(&findings)? } else { render::text(&findings) };
    output::data(&text)?;
    for warning in load::warnings(context, |_| true) {
        output::note(&format!("the node does not filter packets as configured: {}", warning.line()));
    }
    let count = |severity| findings.iter().filter(|finding| finding.report.severity == severity).count();
    match count(Severity::Error) {
        0 => Ok(()),
        1 => bail!("the line is ignored; fix it and check again"),
        errors => bail!("the {errors} lines are ignored; fix them and check again"),
    }
}

/// The names in the directories of the firewall's files, and where such files may have been put by mistake, as paths relative
/// to the tree.
fn names(tree: &Tree) -> Vec<String> {
    let entries = |directory: &str, is_wanted: fn(&FileType) -> bool| {
        let entries = fs::read_dir(Path::new(&tree.root).join(directory)).into_iter().flatten().flatten();
        let wanted = entries.filter(move |entry| entry.file_type().is_ok_and(|kind| is_wanted(&kind)));
        wanted.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let mut directories: Vec<String> =
        ["", FIREWALL_DIRECTORY, SDN_DIRECTORY, VNET_DIRECTORY, NODES_DIRECTORY].map(str::to_string).into();
    for node in entries(NODES_DIRECTORY, FileType::is_dir) {
        directories.extend(GuestKind::ALL.map(|kind| guest_directory(&node, kind)));
        directories.push(format!("{NODES_DIRECTORY}/{node}"));
    }
    let path = |directory: &str, name: String| if directory.is_empty() { name } else { format!("{directory}/{name}") };
    let files = |directory: &String| entries(directory, FileType::is_file).map(|name| path(directory, name)).collect();
    let mut names: Vec<String> = directories.iter().flat_map::<Vec<_>, _>(files).collect();
    names.sort();
    names
}

/// Adds the host.fw files of other nodes, which are not needed for compiling.
fn other_hosts(tree: &mut Tree) -> Result<()> {
    let root = Path::new(&tree.root).join(NODES_DIRECTORY);
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
