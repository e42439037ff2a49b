//! Reports errors in files of the cluster that are not the firewall's own: `.members`, `corosync.conf`.
use super::{corosync, members};
use crate::inputs::{File, Tree};
use crate::model::Report;
use crate::paths::{COROSYNC, MEMBERS, TreeFile, VNET_DIRECTORY};

/// Reports about `.members`, `corosync.conf`, and unreadable files that are only checked.
pub fn check(tree: &Tree, node: &str, reports: &mut Vec<Report>) {
    if let Some(Err(error)) = tree.content(MEMBERS).map(|text| members::node_address(text, node)) {
        reports.push(Report::file(&tree.label(MEMBERS), error));
    }
    if let Some(text) = tree.content(COROSYNC) {
        let file = tree.label(COROSYNC);
        let errors = corosync::syntax_errors(&String::from_utf8_lossy(text));
        reports.extend(errors.into_iter().map(|(line, error)| Report::line(&file, line, error)));
    }
    let is_vnet = |path: &str| matches!(TreeFile::parse(path), Some(TreeFile::Vnet(_)));
    for (path, file) in tree.below(VNET_DIRECTORY).filter(|(path, _)| is_vnet(path)) {
        if let File::Unreadable(why) = file {
            reports.push(Report::file(&tree.label(path), format!("cannot be read: {why}")));
        }
    }
}
