//! Names of interfaces, and the local network.
use crate::trees::{chain, cluster, facts, reports, tree, vm};
use crate::user_configurations::{assert_clean, host_in};
use pve_firewall::inputs::InterfaceAddress;
use pve_firewall::iptables::compile::compile;
use pve_firewall::model::Family;

#[test]
fn names_of_interfaces_are_those_of_the_kernel() {
    for name in ["wg-home", "br-1a2b3c", "eth0.100.200", "v", "eth0:1", "0nic", "a@b"] {
        let compiled = cluster(&format!("[RULES]\nIN DROP -i {name}\n"));
        assert_clean(&compiled);
        assert_eq!(host_in(&compiled, &format!("-i {name} -j DROP")).count(), 1, "{name}");
    }
    for name in ["eth+", "a/b", ".", "..", "eth0:x", "a;b", &"x".repeat(128)] {
        let compiled = cluster(&format!("[RULES]\nIN DROP -i {name}\n"));
        assert!(reports(&compiled)[0].contains("iface: invalid network interface name"), "{name}");
    }
}

#[test]
fn alternative_names_may_be_long() {
    let files = [("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -i enp0s20f0u3u1u2c2\n")];
    let mut facts = facts();
    // no packet enters by an interface that does not exist: the rule must not match other packets
    let compiled = compile(&tree(&files), &facts);
    assert_clean(&compiled);
    assert_eq!(host_in(&compiled, "-j DROP").filter(|rule| rule.starts_with("-i") || rule == "-j DROP").count(), 1);
    facts.altnames.insert("enp0s20f0u3u1u2c2".to_string(), "eth7".to_string());
    assert_eq!(host_in(&compile(&tree(&files), &facts), "-i eth7 -j DROP").count(), 1);
}

#[test]
fn long_alternative_names_of_any_rule_are_replaced() {
    const LONG: &str = "enx00e04c680001-dock-port-1";
    let files = [
        (
            "firewall/cluster.fw",
            format!(
                "[OPTIONS]\nenable: 1\n[GROUP gg]\nIN DROP -p udp\n[RULES]\nOUT REJECT -iface {LONG}\nGROUP gg -i {LONG}\n"
            ),
        ),
        ("nodes/n1/host.fw", format!("[RULES]\nIN SSH(DROP) --iface {LONG} -source fd00::1\n|IN DROP -i {LONG}x\n")),
    ];
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let mut facts = facts();
    facts.altnames.insert(LONG.to_string(), "eth7".to_string());
    let compiled = compile(&tree(&files), &facts);
    assert_clean(&compiled);
    for (family, name, rule) in [
        (Family::V4, "PVEFW-HOST-OUT", "-o eth7 -j PVEFW-reject"),
        (Family::V6, "PVEFW-HOST-OUT", "-o eth7 -j PVEFW-reject"),
        (Family::V4, "PVEFW-HOST-IN", "-i eth7 -j GROUP-gg-IN"),
        (Family::V6, "PVEFW-HOST-IN", "-i eth7 -s fd00::1 -p tcp --dport 22 -j DROP"),
    ] {
        assert!(
            chain(&compiled, family, name).contains(&rule.to_string()),
            "{rule}: {:?}",
            chain(&compiled, family, name)
        );
    }
    // a guest's interface must be a key of its configuration; an altname has at most 127 characters
    let long = "x".repeat(128);
    assert!(reports(&vm("", &format!("[RULES]\nIN DROP -i {LONG}\n")))[0].contains("regex pattern"));
    assert!(reports(&cluster(&format!("[RULES]\nIN DROP -i {long}\n")))[0].contains("invalid network interface name"));
}

#[test]
fn the_local_network_is_that_of_the_interface_with_the_nodes_address() {
    let with = |net: &str, routes: &str| {
        let mut facts = facts();
        facts.addresses = vec![InterfaceAddress { interface: "vmbr0".to_string(), net: net.parse().unwrap() }];
        facts.routes_v4 = routes.to_string();
        let members = format!(r#"{{"nodelist":{{"n1":{{"ip":"{}"}}}}}}"#, net.split('/').next().unwrap());
        let files = [("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n"), (".members", members.as_str())];
        compile(&tree(&files), &facts).localnet.used
    };
    let half = "tun0 00000080 00000000 0001 0 0 0 00000080 0 0 0\n";
    let gateway = "vmbr0 0000000A 0101010A 0003 0 0 0 000000FF 0 0 0\n";
    let blackhole = "* 0001010A 00000000 0200 0 0 0 00FFFFFF 0 0 0\n";
    let own = "vmbr0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
    assert_eq!(with("192.168.1.10/24", half), "192.168.1.0/24");
    assert_eq!(with("192.168.1.10/32", &format!("{half}{own}")), "192.168.1.0/24");
    assert_eq!(with("10.1.1.5/24", gateway), "10.1.1.0/24");
    assert_eq!(with("10.1.1.5/25", blackhole), "10.1.1.0/25");
    assert_eq!(with("fd00:1::5/64", ""), "fd00:0001:0000:0000:0000:0000:0000:0000/64");
    assert_eq!(with("10.1.1.5/7", ""), "127.0.0.0/8");
}
