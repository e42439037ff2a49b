//! Files that look like firewall configuration but are not read, or belong to a guest that does not exist.
use crate::inputs::Tree;
use crate::model::guest::parse_vmid;
use crate::model::{Report, Severity};
use crate::node::vmids;
use crate::paths::{CLUSTER, FIREWALL_DIRECTORY, NODES_DIRECTORY, TreeFile, VMLIST, VNET_DIRECTORY};

/// Checks the names in the directories of the firewall's files, given as paths relative to the tree.
#[must_use]
pub fn unread(tree: &Tree, node: &str, paths: &[String]) -> Vec<Report> {
    let guests = tree.content(VMLIST).map(vmids);
    let reason = |path: &String| match TreeFile::parse(path) {
        Some(TreeFile::Guest(id)) => match (parse_vmid(id), &guests) {
            (Some(vmid), Some(guests)) if !guests.contains(&vmid) => {
                Some(format!("there is no guest {vmid} in the cluster: this file has no effect"))
            }
            (Some(_), _) => None,
            (None, _) => intended(path, node).map(not_read),
        },
        Some(file) if file.has_valid_name() => None,
        _ => intended(path, node).map(not_read),
    };
    let warning = |path: &String| {
        let text = reason(path)?;
        Some(Report { severity: Severity::Warning, ..Report::file(&tree.label(path), text) })
    };
    paths.iter().filter_map(warning).collect()
}

fn not_read(instead: String) -> String {
    format!("this file is not read; {instead}")
}

/// The path that was probably meant for a file that is not read; `None` if it does not look like a file of the firewall.
fn intended(path: &str, node: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let lower = name.to_ascii_lowercase();
    let (stem, extension) = lower.rsplit_once('.').unwrap_or((&lower, ""));
    let known = matches!(extension, "fw" | "conf" | "");
    let file = match stem {
        _ if !known => return None,
        _ if directory == VNET_DIRECTORY => (extension == "fw").then(|| TreeFile::Vnet(stem).to_string()),
        "host" => {
            Some(TreeFile::Host(directory.strip_prefix(NODES_DIRECTORY).map_or(node, |own| &own[1..])).to_string())
        }
        "cluster" => Some(CLUSTER.to_string()),
        _ if stem.bytes().all(|byte| byte.is_ascii_digit()) => {
            parse_vmid(stem.trim_start_matches('0')).map(|vmid| TreeFile::Guest(&vmid.to_string()).to_string())
        }
        _ => None,
    };
    match file {
        Some(file) if file == path => None,
        Some(file) => Some(format!("did you mean {file}?")),
        None if extension == "fw" && directory == FIREWALL_DIRECTORY => {
            Some(format!("{FIREWALL_DIRECTORY}/ contains cluster.fw, and VMID.fw for each guest"))
        }
        None if extension == "fw" && directory != VNET_DIRECTORY => {
            Some("the only firewall file in the directory of a node is host.fw".to_string())
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::File;

    #[test]
    fn ignored_files_are_reported() {
        let vmlist = r#"{"version":1,"ids":{"100":{"node":"n1","type":"qemu"},"200":{"node":"n2","type":"lxc"}}}"#;
        let mut tree = Tree { root: "/pve".into(), ..Tree::default() };
        tree.files.insert(VMLIST.into(), File::Content(vmlist.as_bytes().into()));
        for (path, text) in [
            ("firewall/cluster.fw", ""),
            ("firewall/100.fw", ""),
            ("firewall/200.fw", ""),
            ("firewall/300.fw", "there is no guest 300 in the cluster"),
            ("firewall/host.fw", "did you mean nodes/n1/host.fw?"),
            ("firewall/HOST.fw", "did you mean nodes/n1/host.fw?"),
            ("firewall/Cluster.fw", "did you mean firewall/cluster.fw?"),
            ("firewall/cluster.FW", "did you mean firewall/cluster.fw?"),
            ("firewall/cluster", "did you mean firewall/cluster.fw?"),
            ("firewall/100.conf", "did you mean firewall/100.fw?"),
            ("firewall/0100.fw", "did you mean firewall/100.fw?"),
            ("firewall/100.FW", "did you mean firewall/100.fw?"),
            ("firewall/100", "did you mean firewall/100.fw?"),
            ("firewall/web.fw", "firewall/ contains cluster.fw"),
            ("firewall/cluster.fw.bak", ""),
            ("firewall/notes.txt", ""),
            ("nodes/n1/host.fw", ""),
            ("nodes/n2/HOST.FW", "did you mean nodes/n2/host.fw?"),
            ("nodes/n1/cluster.fw", "did you mean firewall/cluster.fw?"),
            ("nodes/n1/100.fw", "did you mean firewall/100.fw?"),
            ("nodes/n1/lrm_status", ""),
            ("nodes/n1/config", ""),
            ("sdn/firewall/vnet0.fw", ""),
            ("sdn/firewall/vnet0.FW", "did you mean sdn/firewall/vnet0.fw?"),
        ] {
            let found: Vec<_> = unread(&tree, "n1", &[path.to_string()]).iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), usize::from(!text.is_empty()), "{path}: {found:?}");
            assert!(
                found.iter().all(|one| one.starts_with(&format!("/pve/{path}: ")) && one.contains(text)),
                "{found:?}"
            );
        }
        tree.files.clear();
        assert_eq!(unread(&tree, "n1", &["firewall/300.fw".to_string()]), [], "the guests are not known");
    }
}
