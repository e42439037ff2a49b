//! The IP sets of SDN.
use crate::trees::{chain, entries, facts, reports, tree};
use crate::user_configurations::{assert_clean, host_in};
use pve_firewall::iptables::compile::compile;
use pve_firewall::model::Family;

const RUNNING: &str = r#"{"zones":{"ids":{"z":{"type":"simple"}}},"vnets":{"ids":{"vnet0":{"zone":"z"}}},"subnets":{"ids":
    {"z-10.1.0.0-24":{"vnet":"vnet0","gateway":"10.1.0.1","dhcp-range":["start-address=10.1.0.8,end-address=10.1.0.11"]}}}}"#;
const IPAM: &str = r#"{"zones":{"z":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.9":{"vmid":"100"}}}}}}}"#;

#[test]
fn rules_may_name_sets_of_sdn() {
    let rules = "[RULES]\nIN DROP -source +sdn/vnet0-all\nIN DROP -source +sdn/vnet0-no-gateway\nIN DROP -source \
                 +SDN/Vnet0-Gateway\nIN DROP -source +sdn/vnet0-dhcp\nIN DROP -source +sdn/guest-ipam-100\n";
    for ipam in ["sdn/pve-ipam-state.json", "priv/ipam.db"] {
        let files = [
            ("firewall/cluster.fw", format!("[OPTIONS]\nenable: 1\n{rules}GROUP gg\n[GROUP gg]\n{}", &rules[8..])),
            ("nodes/n1/host.fw", rules.to_string()),
            ("firewall/100.fw", format!("[OPTIONS]\nenable: 1\n{rules}")),
            ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:0A:01,bridge=vmbr0,firewall=1\n".to_string()),
            ("sdn/.running-config", RUNNING.to_string()),
            (ipam, IPAM.to_string()),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let compiled = compile(&tree(&files), &facts());
        assert_clean(&compiled);
        for (name, expected) in [
            ("PVEFW-0-vnet0-all-v4", &["10.1.0.0/24"][..]),
            ("PVEFW-0-vnet0-gateway-v4", &["10.1.0.1"]),
            ("PVEFW-0-vnet0-dhcp-v4", &["10.1.0.8/30"]),
            ("PVEFW-0-vnet0-all-v6", &[]),
        ] {
            assert_eq!(entries(&compiled, name), expected, "{name}");
        }
        for name in ["PVEFW-HOST-IN", "GROUP-gg-IN", "tap100i0-IN"] {
            let rules = chain(&compiled, Family::V4, name);
            let sets: Vec<&String> = rules.iter().filter(|rule| rule.contains(" src -j DROP")).collect();
            assert_eq!(sets.len(), if name == "PVEFW-HOST-IN" { 10 } else { 5 }, "{name}: {rules:?}");
            assert!(sets[0].contains("--match-set PVEFW-0-vnet0-all-v4 src"), "{sets:?}");
        }
    }
}

#[test]
fn only_the_prefix_sdn_selects_sets_of_sdn() {
    let of = |rule: &str, cluster: &str| {
        let cluster = format!("[OPTIONS]\nenable: 1\n{cluster}[RULES]\n{rule}\n");
        let files = [("firewall/cluster.fw", cluster.as_str()), ("sdn/.running-config", RUNNING)];
        compile(&tree(&files), &facts())
    };
    for (rule, unknown) in [
        ("IN DROP -source +vnet0-all", Some("no such ipset 'vnet0-all'")),
        ("IN DROP -source +dc/vnet0-all", Some("no such ipset 'vnet0-all'")),
        ("IN DROP -source +sdn/vnet1-all", Some("no such ipset 'vnet1-all'")),
        ("IN DROP -source +sdn/guest-ipam-100", Some("no such ipset 'guest-ipam-100'")),
        ("IN DROP -source sdn/vnet0-all", Some("no such alias 'sdn/vnet0-all'")),
        ("IN DROP -source +sdn/vnet0-all", None),
    ] {
        let all = reports(&of(rule, ""));
        assert_eq!(all.len(), usize::from(unknown.is_some()), "{rule}: {all:?}");
        assert!(unknown.is_none_or(|unknown| all[0].contains(unknown)), "{rule}: {all:?}");
    }
    // a set of cluster.fw with the same name has another name in the kernel
    let compiled = of("IN DROP -source +sdn/vnet0-all", "[IPSET vnet0-all]\n192.0.2.1\n");
    assert_clean(&compiled);
    assert_eq!(entries(&compiled, "PVEFW-0-vnet0-all-v4"), ["192.0.2.1"]);
    let rules: Vec<_> = host_in(&compiled, "src -j DROP").collect();
    assert!(rules.len() == 1 && !rules[0].contains("vnet0-all"), "{rules:?}");
    let name = rules[0].split(' ').find(|word| word.starts_with("PVEFW-")).unwrap();
    assert_eq!(entries(&compiled, name), ["10.1.0.0/24"]);
}

#[test]
fn invalid_files_of_sdn_affect_only_themselves() {
    let compiled = |running: &str, ipam: &str| {
        let rules = "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -source +sdn/vnet0-all\nIN DROP -source +sdn/guest-ipam-100\n\
                     IN DROP -i a\n";
        let files =
            [("firewall/cluster.fw", rules), ("sdn/.running-config", running), ("sdn/pve-ipam-state.json", ipam)];
        compile(&tree(&files), &facts())
    };
    for (running, ipam, rules, errors) in [
        (RUNNING, IPAM, 3, 0),
        ("{", IPAM, 2, 2),
        (RUNNING, "\u{0}", 2, 2),
        (&RUNNING.replace("10.1.0.1\"", "10.1.0\""), &IPAM.replace("10.1.0.9", "10.2.0.9"), 3, 2),
    ] {
        let compiled = compiled(running, ipam);
        let all = reports(&compiled);
        assert_eq!(
            host_in(&compiled, "-j DROP").filter(|rule| rule.contains("src") || rule.contains("-i a")).count(),
            rules
        );
        assert_eq!(all.len(), errors, "{all:?}");
    }
}
