//! Files that look like firewall configuration but are not read, or belong to a guest that does not exist.
use crate::inputs::Tree;
use crate::model::guest::parse_vmid;
use crate::model::{Report, Severity};
use crate::node::vmids;
use crate::paths::{CLUSTER, FIREWALL_DIRECTORY, NODES_DIRECTORY, SDN_DIRECTORY, TreeFile, VMLIST, VNET_DIRECTORY};

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

/// What was probably meant by a file that is not read; `None` if it does not look like a file of the firewall. Names with a
/// further extension, such as `cluster.fw.bak` or `cluster.fw~`, are backups.
fn intended(path: &str, node: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let lower = name.to_ascii_lowercase();
    let (stem, extension) = lower.rsplit_once('.').unwrap_or((&lower, ""));
    // the manual of Proxmox VE calls host.fw `host.firewall`
    let of_firewall = matches!(extension, "fw" | "firewall");
    let own = directory.strip_prefix(NODES_DIRECTORY).and_then(|rest| rest.strip_prefix('/'));
    let is_node = own.is_some_and(|own| !own.contains('/'));
    let known = of_firewall || (matches!(extension, "conf" | "") && (is_node || directory == FIREWALL_DIRECTORY));
    let file = match stem {
        _ if !known || stem.is_empty() => return None,
        _ if directory == VNET_DIRECTORY => Some(TreeFile::Vnet(stem).to_string()),
        "host" => Some(TreeFile::Host(own.and_then(|own| own.split('/').next()).unwrap_or(node)).to_string()),
        "cluster" => Some(CLUSTER.to_string()),
        _ if stem.bytes().all(|byte| byte.is_ascii_digit()) => {
            parse_vmid(stem.trim_start_matches('0')).map(|vmid| TreeFile::Guest(&vmid.to_string()).to_string())
        }
        _ if directory == SDN_DIRECTORY => Some(TreeFile::Vnet(stem).to_string()),
        _ => None,
    };
    match file {
        Some(file) if file == path => None,
        Some(file) => Some(format!("did you mean {file}?")),
        None if !of_firewall => None,
        None if directory == FIREWALL_DIRECTORY => Some(format!(
            "{FIREWALL_DIRECTORY}/ contains cluster.fw, and VMID.fw for each guest; the file of a vnet is in {VNET_DIRECTORY}/"
        )),
        None if is_node => Some("the only firewall file in the directory of a node is host.fw".to_string()),
        None => Some(format!(
            "files of the firewall are in {FIREWALL_DIRECTORY}/, {VNET_DIRECTORY}/ and {NODES_DIRECTORY}/NODE/"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::File;

    /// Checks the report about each file: a part of its text, or nothing.
    fn check(cases: &[(&str, &str)]) {
        let vmlist = r#"{"version":1,"ids":{"100":{"node":"n1","type":"qemu"},"200":{"node":"n2","type":"lxc"}}}"#;
        let mut tree = Tree { root: "/pve".into(), ..Tree::default() };
        tree.files.insert(VMLIST.into(), File::Content(vmlist.as_bytes().into()));
        for (path, text) in cases {
            let found: Vec<_> = unread(&tree, "n1", &[(*path).to_string()]).iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), usize::from(!text.is_empty()), "{path}: {found:?}");
            assert!(
                found.iter().all(|one| one.starts_with(&format!("/pve/{path}: ")) && one.contains(text)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn ignored_files_in_the_directory_of_the_firewall_are_reported() {
        check(&[
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
            ("firewall/cluster.firewall", "did you mean firewall/cluster.fw?"),
            ("firewall/100.firewall", "did you mean firewall/100.fw?"),
            ("firewall/host.firewall", "did you mean nodes/n1/host.fw?"),
            ("firewall/vnet0.firewall", "the file of a vnet is in sdn/firewall/"),
            ("firewall/cluster.fw.bak", ""),
            ("firewall/cluster.fw~", ""),
            ("firewall/100.fw.dpkg-old", ""),
            ("firewall/.fw", ""),
            ("firewall/notes.txt", ""),
        ]);
    }

    #[test]
    fn ignored_files_in_other_directories_are_reported() {
        check(&[
            ("nodes/n1/host.fw", ""),
            ("nodes/n2/HOST.FW", "did you mean nodes/n2/host.fw?"),
            ("nodes/n1/host.firewall", "did you mean nodes/n1/host.fw?"),
            ("nodes/n2/Host.Firewall", "did you mean nodes/n2/host.fw?"),
            ("nodes/n1/host.fw.bak", ""),
            ("nodes/n1/web.firewall", "the only firewall file in the directory of a node is host.fw"),
            ("nodes/n1/cluster.fw", "did you mean firewall/cluster.fw?"),
            ("nodes/n1/100.fw", "did you mean firewall/100.fw?"),
            ("nodes/n1/lrm_status", ""),
            ("nodes/n1/config", ""),
            ("nodes/n1/qemu-server/100.conf", ""),
            ("nodes/n1/qemu-server/100", ""),
            ("nodes/n1/qemu-server/host.conf", ""),
            ("nodes/n2/qemu-server/host.fw", "did you mean nodes/n2/host.fw?"),
            ("nodes/n1/lxc/200.fw", "did you mean firewall/200.fw?"),
            ("nodes/n1/lxc/web.fw", "files of the firewall are in firewall/, sdn/firewall/ and nodes/NODE/"),
            ("nodes/host.fw", "did you mean nodes/n1/host.fw?"),
            ("cluster.fw", "did you mean firewall/cluster.fw?"),
            ("host.firewall", "did you mean nodes/n1/host.fw?"),
            ("corosync.conf", ""),
            ("storage.cfg", ""),
            ("sdn/zones.cfg", ""),
            ("sdn/vnet0.fw", "did you mean sdn/firewall/vnet0.fw?"),
            ("sdn/firewall/vnet0.firewall", "did you mean sdn/firewall/vnet0.fw?"),
            ("sdn/firewall/vnet0.fw.bak", ""),
            ("sdn/firewall/vnet0.fw", ""),
            ("sdn/firewall/vnet0.FW", "did you mean sdn/firewall/vnet0.fw?"),
        ]);
    }

    #[test]
    fn guests_that_are_not_known_are_not_missing() {
        let tree = Tree { root: "/pve".into(), ..Tree::default() };
        assert_eq!(unread(&tree, "n1", &["firewall/300.fw".to_string()]), []);
    }
}
