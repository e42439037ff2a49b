//! Warnings about configurations that block all management access to the node.
use super::{cluster, found};

#[test]
fn rules_that_block_all_management_access_are_reported() {
    let locked = |what: &str| format!("no address in the set management can access {what} of the node");
    for (rules, line) in [
        ("IN ACCEPT -p tcp -dport 80", 0),
        ("IN DROP -p udp", 0),
        ("IN DROP", 4),
        ("IN REJECT -p tcp -dport 22,8006", 4),
        ("IN DROP -source +management", 4),
        ("IN DROP -source 10.0.0.0/8", 0),
        ("IN DROP -source 192.168.0.0/16", 4),
        ("IN DROP -dest 192.168.7.2", 4),
        ("IN REJECT -dest 192.168.7.0/24 -p tcp", 4),
        ("IN DROP -dest 192.168.7.3", 0),
        // another rule accepts access from one address
        ("IN ACCEPT -source 192.0.2.7 -p tcp\nIN DROP", 0),
        ("IN ACCEPT -i eno1 -p tcp\nIN DROP", 0),
        ("GROUP admin\nIN DROP\n[GROUP admin]\nIN ACCEPT -source 192.0.2.8 -p tcp -dport 22,8006", 0),
        ("IN ACCEPT -source 192.0.2.7 -p udp\nIN DROP", 5),
    ] {
        let found = cluster(&format!("[OPTIONS]\nenable: 1\n[RULES]\n{rules}\n"));
        let expected: &[_] =
            if line > 0 { &[locked("port 22 (SSH)"), locked("port 8006 (the web interface)")] } else { &[] };
        assert_eq!(found.len(), expected.len(), "{rules}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(&format!("cluster.fw (line {line}): {expected}")), "{rules}: {found}");
        }
    }
    assert_eq!(cluster("[OPTIONS]\nenable: 0\n[RULES]\nIN DROP\n"), [""; 0], "the firewall is disabled");
    let blacklist = cluster("[OPTIONS]\nenable: 1\n\n[IPSET blacklist]\n192.168.0.0/16\n");
    assert!(
        blacklist.iter().all(|one| one.starts_with("cluster.fw (line 4): no address in the set management"))
            && blacklist.len() == 2,
        "{blacklist:?}"
    );
    let off = [
        ("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP\n"),
        ("nodes/n1/host.fw", "[OPTIONS]\nenable: 0\n"),
    ];
    assert_eq!(found(&off), [""; 0], "the host's firewall is disabled");
}

#[test]
fn a_node_that_no_other_machine_can_access_is_reported() {
    for network in ["127.0.0.0/8", "192.168.7.2"] {
        let found = cluster(&format!("[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network {network}\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        for (found, port) in found.iter().zip(["22 (SSH)", "8006 (the web interface)"]) {
            assert!(
                found.starts_with(&format!("cluster.fw (line 1): no other machine can reach port {port}")),
                "{found}"
            );
            assert!(found.contains(network), "{found}");
        }
        for fine in [
            "[RULES]\nIN ACCEPT -p tcp\n",
            "[IPSET management]\n10.0.0.0/8\n",
            "[RULES]\nIN ACCEPT -source 10.0.0.1\n",
            "policy_in: ACCEPT\n",
        ] {
            let options = if fine.starts_with("policy") { fine } else { "" };
            let rest = if options.is_empty() { fine } else { "" };
            let found = cluster(&format!("[OPTIONS]\nenable: 1\n{options}[ALIASES]\nlocal_network {network}\n{rest}"));
            assert_eq!(found, [""; 0], "{fine}");
        }
    }
}
