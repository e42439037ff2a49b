//! Files whose last valid version stays in force: those whose option `enable` has an invalid value, and SDN files that are not
//! JSON.
use super::options::invalid_enable;
use super::sections::{Sections, decode};
use crate::inputs::{File, Tree};
use crate::model::{FileKind, Report};
use crate::paths::TreeFile;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tree in which such files are replaced by their last valid version, if one is known.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The tree: the given one if all files are valid in this respect.
    pub tree: Arc<Tree>,
    /// The files that are not in force, with their errors.
    pub reports: Vec<Report>,
    /// Whether the `enable` of cluster.fw or host.fw is invalid, and no earlier valid version is known.
    pub unknown: bool,
}

/// Replaces these files by their last valid version, from `before`, the result of the previous call. A guest's file without a
/// valid version is treated as unreadable, so that the guest keeps its live rules.
#[must_use]
pub fn in_force(tree: &Arc<Tree>, before: Option<&Tree>) -> InForce {
    if before.is_some_and(|before| std::ptr::eq(before, &**tree)) {
        return InForce { tree: tree.clone(), reports: Vec::new(), unknown: false };
    }
    let mut replaced: BTreeMap<Arc<str>, Option<File>> = BTreeMap::new();
    let (mut reports, mut unknown) = (Vec::new(), false);
    for (path, file) in &tree.files {
        let File::Content(content) = file else { continue };
        let known = before.and_then(|before| before.files.get(path));
        if known == Some(file) {
            continue;
        }
        let place = TreeFile::parse(path);
        if let (Some(TreeFile::SdnRunning | TreeFile::IpamState | TreeFile::IpamDatabase), Some(known)) = (place, known)
            && let Err(error) = serde_json::from_slice::<IgnoredAny>(content)
        {
            let text = format!("invalid JSON: {error}; the last valid version of this file is in force");
            reports.push(Report::file(&tree.label(path), text));
            replaced.insert(path.clone(), Some(known.clone()));
        }
        let Some(kind) = place.and_then(TreeFile::firewall_kind) else { continue };
        let Some(mut report) = enable_error(content, kind, &tree.label(path)) else { continue };
        let label = match (before, kind) {
            (Some(_), _) => "in force: the last version of this file in which it could be read",
            (None, FileKind::Guest) => "in force: the live rules of this guest, if it has any",
            (None, _) => "in force: the live rules",
        };
        report.marks.iter_mut().for_each(|mark| mark.label = label.to_string());
        match (before, kind) {
            (Some(_), _) => drop(replaced.insert(path.clone(), known.cloned())),
            (None, FileKind::Guest) => {
                let file = File::Unreadable("the value of 'enable' is neither 0 nor 1".into());
                replaced.insert(path.clone(), Some(file));
            }
            (None, FileKind::Cluster | FileKind::Host) => unknown = true,
            // the parser reports the error and disables the vnet's rules
            (None, FileKind::Vnet) => continue,
        }
        reports.push(report);
    }
    if replaced.is_empty() {
        return InForce { tree: tree.clone(), reports, unknown };
    }
    let mut settled = Tree::clone(tree);
    for (path, file) in replaced {
        match file {
            Some(file) => settled.files.insert(path, file),
            None => settled.files.remove(&path),
        };
    }
    InForce { tree: settled.into(), reports, unknown }
}

/// The error in the line that sets `enable`, if its value is invalid.
fn enable_error(content: &[u8], kind: FileKind, file: &Arc<str>) -> Option<Report> {
    let text = decode(content);
    let sections = Sections::of(&text, file, kind, &mut Vec::new());
    invalid_enable(&sections.options, kind, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "firewall/cluster.fw";
    const GUEST: &str = "firewall/100.fw";
    const HOST: &str = "nodes/n1/host.fw";
    const VNET: &str = "sdn/firewall/vnet0.fw";

    fn tree(files: &[(&str, &str)]) -> Arc<Tree> {
        let file = |text: &str| File::Content(text.as_bytes().into());
        let files = files.iter().map(|(path, text)| ((*path).into(), file(text))).collect();
        Arc::new(Tree { root: "/etc/pve".to_string(), files })
    }

    #[test]
    fn only_the_last_enable_of_the_options_counts() {
        for (text, is_invalid) in [
            ("[OPTIONS]\nenable: foo", true),
            ("[OPTIONS]\nenable: \"1\"", true),
            ("[OPTIONS]\nENABLE:", true),
            ("[OPTIONS]\nenable: 1;", true),
            ("[OPTIONS]\nenable: 1\nenable: -1", true),
            ("[OPTIONS]\nenable: foo\nenable: off # x", false),
            ("[OPTIONS]\nenable: Yes", false),
            ("[OPTIONS]\nenabled: foo", false),
            ("[RULES]\nenable: foo", false),
            ("[OPTION]\nenable: foo", false),
            ("", false),
        ] {
            for kind in [FileKind::Cluster, FileKind::Host, FileKind::Guest, FileKind::Vnet] {
                assert_eq!(enable_error(text.as_bytes(), kind, &"f".into()).is_some(), is_invalid, "{text} {kind:?}");
            }
        }
        // a time is valid in cluster.fw only
        assert!(enable_error(b"[OPTIONS]\nenable: 1790000000", FileKind::Cluster, &"f".into()).is_none());
        assert!(enable_error(b"[OPTIONS]\nenable: 1790000000", FileKind::Host, &"f".into()).is_some());
    }

    #[test]
    fn invalid_files_are_replaced_by_their_last_valid_version() {
        for path in [CLUSTER, GUEST, HOST, VNET] {
            let first = tree(&[(path, "[OPTIONS]\nenable: 1\n"), (".vmlist", "{}")]);
            let invalid = tree(&[(path, "[OPTIONS]\nenable: maybe\n"), (".vmlist", "{ }")]);
            let settled = in_force(&invalid, Some(&first));
            assert_eq!(settled.tree.files[path], first.files[path], "{path}");
            assert_eq!(settled.tree.files[".vmlist"], invalid.files[".vmlist"]);
            let report = format!("/etc/pve/{path} (line 2): can't parse option 'enable: maybe'");
            assert_eq!(settled.reports.iter().map(ToString::to_string).collect::<Vec<_>>(), [report]);
            // the next call gets the tree in force and returns the same
            let again = in_force(&invalid, Some(&settled.tree));
            assert_eq!((&again.tree, again.reports), (&settled.tree, settled.reports));
            assert!(Arc::ptr_eq(&in_force(&again.tree, Some(&again.tree)).tree, &again.tree));
            // a file that did not exist before is not replaced
            let appeared = in_force(&invalid, Some(&tree(&[])));
            assert!(!appeared.tree.files.contains_key(path) && appeared.reports.len() == 1);
            // a valid value takes effect at once
            let off = tree(&[(path, "[OPTIONS]\nenable: 0\n")]);
            assert!(Arc::ptr_eq(&in_force(&off, Some(&first)).tree, &off));
        }
    }

    #[test]
    fn sdn_files_with_invalid_json_are_replaced() {
        for path in ["sdn/.running-config", "sdn/pve-ipam-state.json", "priv/ipam.db"] {
            let (first, broken) = (tree(&[(path, "{}")]), tree(&[(path, "{\"zones\":")]));
            let settled = in_force(&broken, Some(&first));
            assert_eq!((&settled.tree.files, settled.reports.len()), (&first.files, 1), "{path}");
            for before in [None, Some(&*tree(&[]))] {
                assert!(Arc::ptr_eq(&in_force(&broken, before).tree, &broken), "{path}");
            }
        }
    }

    #[test]
    fn without_a_valid_version_live_rules_stay() {
        let one = |path: &str| in_force(&tree(&[(path, "[OPTIONS]\nenable: maybe\n")]), None);
        assert!(one(CLUSTER).unknown && one(HOST).unknown && !one(GUEST).unknown && !one(VNET).unknown);
        assert!(matches!(one(GUEST).tree.files[GUEST], File::Unreadable(_)));
        assert!(matches!(one(VNET).tree.files[VNET], File::Content(_)));
    }
}
