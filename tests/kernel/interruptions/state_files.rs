//! The files that the daemon and its commands write: no others, and none through a symlink.
use super::{SSH, change, wait_until_port_is_accepted};
use crate::host::ebtables;
use crate::node::{CLUSTER, GUEST, Node, wait_for};
use crate::wait::WaitInTime;
use pve_firewall::iptables::apply::Variant;
use std::fs;
use std::os::unix::fs::{lchown, symlink};

/// The files that the daemon and its commands write, and the temporary file of each with `.new` appended.
const WRITTEN_FILES: [&str; 14] = [
    "var/lib/pve-firewall/ipsetcmdlist1",
    "var/lib/pve-firewall/ipsetcmdlist2",
    "var/lib/pve-firewall/ip4cmdlist",
    "var/lib/pve-firewall/ip4cmdlistraw",
    "var/lib/pve-firewall/ip6cmdlist",
    "var/lib/pve-firewall/ip6cmdlistraw",
    "var/lib/pve-firewall/ebtablescmdlist",
    "var/lib/pve-firewall/log_nf_conntrack",
    "var/lib/pve-firewall/last-good",
    "run/pve-firewall.pid",
    "run/pve-firewall/status.json",
    "run/pve-firewall/daemon.lock",
    "run/lock/pvefw.lck",
    "run/proxmox-nftables-firewall-force-disable",
];

/// Runs a daemon and the commands so that they write their files.
fn write_everything(node: &Node) {
    node.write("nodes/n1/host.fw", "[OPTIONS]\nlog_nf_conntrack: 1\nprotection_synflood: 1\n");
    node.write("firewall/cluster.fw", &format!("{CLUSTER}[IPSET some]\n192.0.2.1\n"));
    node.write("firewall/100.fw", &GUEST.replace("[RULES]", "layer2_protocols: IPv4,ARP\n[RULES]"));
    let mut child = node.command(&["start", "--foreground"]).spawn().unwrap();
    node.wait_for_rule(SSH);
    node.write("firewall/cluster.fw", CLUSTER);
    change(node, 23);
    wait_until_port_is_accepted(node, 23);
    wait_for("the status file", || node.status());
    let stopped = node.run(&["stop"]);
    assert!(child.wait_in_time().success());
    assert_eq!(node.own_rules(), "", "{stopped:?}");
}

#[test]
fn no_symlink_is_followed() {
    for owner in [0, 1234] {
        let node = Node::new("pvefw-links");
        let victim = node.path("victim");
        fs::write(&victim, "untouched").unwrap();
        for path in WRITTEN_FILES {
            fs::create_dir_all(node.path(path).parent().unwrap()).unwrap();
            for link in [node.path(path), node.path(&format!("{path}.new"))] {
                symlink(&victim, &link).unwrap();
                lchown(link, Some(owner), None).unwrap();
            }
        }
        write_everything(&node);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        // a lock that is a symlink owned by root is reported as an error; all others are replaced
        let followed = node.logged("continuing without a lock");
        assert_eq!(followed > 0, owner == 0, "{:#?}", node.log());
        // only the existence of the flag is checked
        let replaced = |path: &&&str| !path.ends_with("-force-disable") && (owner != 0 || !path.contains("lock"));
        for path in WRITTEN_FILES.iter().filter(replaced) {
            let there = fs::symlink_metadata(node.path(path)).map(|meta| meta.is_file());
            assert!(there.unwrap_or(true), "{path}: it is still a symlink");
        }
    }
}

#[test]
fn no_other_file_is_written() {
    let node = Node::new("pvefw-written");
    write_everything(&node);
    let directories = ["etc", "run", "sbin", "usr", "var", "tmp"];
    let files: Vec<String> = directories
        .iter()
        .flat_map(|top| node.files(top).into_iter().map(move |file| format!("{top}/{file}")))
        .collect();
    let ours = |file: &&String| !file.starts_with("etc/pve/") && *file != "sbin/pve-firewall";
    // the locks of the legacy tools
    let lock = |file: &&String| match file.as_str() {
        "run/xtables.lock" => true,
        "var/lib/ebtables/lock" => ebtables(Variant::Legacy) == Variant::Legacy,
        _ => false,
    };
    for file in files.iter().filter(ours).filter(|file| !lock(file)) {
        assert!(WRITTEN_FILES.contains(&file.as_str()), "{file}");
    }
    let gone = ["run/pve-firewall.pid", "run/pve-firewall/status.json"];
    for file in WRITTEN_FILES.iter().filter(|file| !gone.contains(file)) {
        assert!(node.path(file).exists(), "{file} is written");
    }
}
