//! The findings of `check`.
use pve_firewall::inputs::{Facts, File, Tree};
use pve_firewall::lint::{Finding, check};
use std::fs;

const CONF: &str = "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nipconfig0: ip=10.0.0.5/24,gw=10.0.0.1\n";

pub fn findings(files: &[(&str, &str)]) -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let facts = Facts {
        node: "n1".to_string(),
        now: 1_800_000_000,
        resolved: [("n1".to_string(), vec!["192.168.7.2".parse().unwrap()])].into(),
        routes_v4: "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nvmbr0\t0007A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
            .to_string(),
        services: read("/etc/services"),
        protocols: read("/etc/protocols"),
        ethertypes: read("/etc/ethertypes"),
        ..Facts::default()
    };
    let mut tree = Tree { root: "/pve".to_string(), ..Tree::default() };
    for (path, content) in files {
        tree.files.insert((*path).into(), File::Content(content.as_bytes().into()));
    }
    check(&tree, &facts)
}

/// Each report without the directory, with the suggestions.
pub fn found(files: &[(&str, &str)]) -> Vec<String> {
    let shown = |finding: Finding| {
        let help: Vec<_> = finding.help.into_iter().flatten().collect();
        let text = finding.report.to_string().replace("/pve/firewall/", "");
        [vec![text], help].concat().join(" | ")
    };
    findings(files).into_iter().map(shown).collect()
}

/// What is found besides that the firewall is off, with either backend.
fn cluster(text: &str) -> Vec<String> {
    let [mut iptables, mut nftables] = ["0", "1"].map(|nftables| {
        let host = format!("[OPTIONS]\nnftables: {nftables}\n");
        found(&[("firewall/cluster.fw", text), ("nodes/n1/host.fw", &host)])
    });
    iptables.retain(|one| !one.contains("the firewall is off in the whole cluster"));
    nftables.retain(|one| !one.contains("the firewall is off in the whole cluster"));
    assert_eq!(iptables, nftables, "{text}");
    iptables
}

pub const ON: (&str, &str) = ("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n");

fn guest(text: &str) -> Vec<String> {
    found(&[ON, ("firewall/100.fw", text), ("nodes/n1/qemu-server/100.conf", CONF)])
}

#[test]
fn a_valid_configuration_has_no_findings() {
    let text = "[OPTIONS]\nenable: 1\n[ALIASES]\nlan 10.0.0.0/24\n[IPSET web]\nlan\n[RULES]\nGROUP gg\n\
        IN ACCEPT -source +web -p tcp -dport 80\nIN ACCEPT -source lan -p tcp -dport 80:90\nIN DROP -source 203.0.113.0/24\n[GROUP gg]\nIN SSH(ACCEPT)\n";
    assert_eq!(cluster(text), [""; 0]);
}

#[test]
fn rules_that_are_never_reached_are_reported() {
    for (rules, shadow) in [
        ("IN DROP\nIN ACCEPT -p tcp", Some("line 2 already drops all incoming packets")),
        ("OUT REJECT\nOUT ACCEPT -p tcp", Some("line 2 already rejects all outgoing packets")),
        ("IN DROP\nOUT ACCEPT -p tcp", None),
        ("IN ACCEPT -p tcp\nIN DROP -p tcp -dport 22", Some("line 2 already accepts all packets that it matches")),
        ("IN ACCEPT -p tcp -dport 20:30\nIN SSH(DROP)", Some("line 2 already accepts all packets that it matches")),
        ("IN ACCEPT -p tcp -dport 20,22\nIN ACCEPT -p tcp -dport 21:22", None),
        ("IN ACCEPT -p tcp -dport 53\nIN DNS(ACCEPT)", None),
        ("IN ACCEPT -source 10.0.0.0/8\nIN DROP -source 10.1.2.3-10.1.2.9", Some("line 2 already accepts")),
        ("IN ACCEPT -source 10.0.0.0/8\nIN DROP -dest 10.1.2.3", None),
        ("IN ACCEPT -source 0.0.0.0/0\nIN DROP", None),
        ("IN ACCEPT -i vmbr0\nIN DROP", None),
        ("IN ACCEPT -i vmbr0\nIN DROP -i vmbr0 -p udp", Some("line 2 already accepts")),
        ("IN Ping(ACCEPT)\nIN DROP -p icmp -icmp-type 8", Some("line 2 already accepts")),
        ("IN ACCEPT -p icmp -icmp-type 3\nIN DROP -p icmp -icmp-type port-unreachable", Some("line 2 already accepts")),
        ("IN ACCEPT -p icmp -icmp-type port-unreachable\nIN DROP -p icmp -icmp-type 3", None),
        ("|IN DROP\nIN ACCEPT -p tcp", None),
    ] {
        let found = cluster(&format!("[RULES]\n{rules}\n"));
        match shadow {
            Some(shadow) => {
                assert_eq!(found.len(), 1, "{rules}: {found:?}");
                let start = format!("cluster.fw (line 3): this rule is never reached: {shadow}");
                assert!(found[0].starts_with(&start), "{rules}: {found:?}");
            }
            None => assert_eq!(found, [""; 0], "{rules}"),
        }
    }
}

#[test]
fn sets_and_groups_can_shadow_rules() {
    let text = "[IPSET net]\n10.0.0.0/8\n!10.9.0.0/16\n[IPSET all]\n10.0.0.0/8\n[GROUP gg]\nIN ACCEPT -source +all\n[RULES]\n\
        IN DROP -source +net\nIN DROP -source 10.1.0.0/16\nGROUP gg\nIN DROP -source 10.2.0.0/16\nGROUP gg\n";
    assert_eq!(
        cluster(text),
        [
            "cluster.fw (line 12): this rule is never reached: line 11 (group gg, line 7 of cluster.fw) already accepts all packets that it matches",
            "cluster.fw (line 13): this rule is never reached: line 11 (group gg, line 7 of cluster.fw) already accepts all packets that it matches",
        ]
    );
}

#[test]
fn empty_and_unused_sets_and_groups_are_reported() {
    let text = "[IPSET idle]\n10.0.0.1\n[IPSET empty]\n[IPSET blacklist]\n[IPSET management]\n[GROUP idle]\nIN ACCEPT\n\
        [GROUP empty]\n|IN ACCEPT\n[RULES]\nIN ACCEPT -source +empty\n";
    assert_eq!(
        cluster(text),
        [
            "cluster.fw (line 1): ipset 'idle' is not used by any rule",
            "cluster.fw (line 3): ipset 'empty' is empty: rules with it match no packet",
            "cluster.fw (line 6): group 'idle' is not used by any rule",
            "cluster.fw (line 8): group 'empty' has no valid rule: it has no effect",
        ]
    );
    let used = [
        ("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n[IPSET web]\n10.0.0.1\n[GROUP gg]\nIN ACCEPT\n"),
        ("firewall/200.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -source +dc/web\n"),
        ("nodes/n2/host.fw", "[RULES]\nGROUP gg\n"),
    ];
    assert_eq!(found(&used), [""; 0], "files of other nodes and their guests are considered");
}

#[test]
fn ip_filters_without_the_guests_addresses_are_reported() {
    let lacks = "guest is configured with";
    for (text, line, part) in [
        ("[OPTIONS]\nenable: 1\nipfilter: 1\n", 3, "holds no address of the guest"),
        ("[OPTIONS]\nenable: 1\n[IPSET ipfilter-net0]\n10.0.0.6\n", 3, lacks),
        ("[OPTIONS]\nenable: 1\n[IPSET ipfilter-net0]\n10.0.0.0/24\n", 0, ""),
        ("[OPTIONS]\nenable: 1\n[IPSET ipfilter-net1]\n10.0.0.0/24\n", 3, "the guest has no net1 with firewall=1"),
        ("[OPTIONS]\nipfilter: 1\n", 1, "the firewall of this guest is off"),
        ("[OPTIONS]\nenable: 0\nipfilter: 1\n", 0, ""),
    ] {
        let found = guest(text);
        assert_eq!(found.len(), usize::from(line > 0), "{text}: {found:?}");
        if let Some(found) = found.first() {
            assert!(
                (found.starts_with(&format!("100.fw (line {line}): ")) || found.starts_with("100.fw: "))
                    && found.contains(part) | (part == lacks),
                "{found}"
            );
            assert_eq!(part == lacks, found.contains("lacks 10.0.0.5, which the guest is configured with"), "{found}");
        }
    }
    let container = "net0: name=eth0,hwaddr=02:00:00:00:00:01,firewall=1,ip=10.0.0.7/24";
    let files = [ON, ("firewall/200.fw", "[OPTIONS]\nenable: 1\nipfilter: 1\n"), ("nodes/n1/lxc/200.conf", container)];
    assert_eq!(found(&files), [""; 0], "a container's addresses are always in the set");
}

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
fn errors_have_suggestions() {
    for (text, expected) in [
        ("[OPTIONS]\nenabel: 1\n", "can't parse option 'enabel: 1' | did you mean 'enable'?"),
        ("[RULES]\nIN SHH(ACCEPT)\n", "unknown macro 'SHH' | did you mean 'SSH'?"),
        ("[RULES]\nIN ACCEPT -sorce 10.0.0.1\n", "-sorce 10.0.0.1 | did you mean '-source'?"),
        ("[RULES]\nGROUP webb\n[GROUP web]\nIN ACCEPT\n", "no such security group 'webb' | did you mean 'web'?"),
        ("[RULES]\nIN ACCEPT -p tcp -dport htps\n", "invalid port 'htps' | did you mean 'https'?"),
    ] {
        let found = cluster(text);
        assert!(found[0].ends_with(expected), "{found:?}");
    }
}

#[test]
fn carets_are_below_the_word() {
    for (line, word) in [
        ("  IN SHH(ACCEPT) -p tcp # SHH", "SHH"),
        ("IN ACCEPT -p tpc", "tpc"),
        ("|IN ACCEPT\t-source +nope", "+nope"),
        ("IN ACCEPT -log loud", "loud"),
        ("FORWARD REJECT", "REJECT"),
        ("IN DENY", "DENY"),
        ("GROUP nope", "nope"),
    ] {
        let found = findings(&[("firewall/cluster.fw", &format!("[RULES]\n{line}\n"))]);
        let finding = &found[0];
        let span = finding.report.marks[0].span;
        assert_eq!(finding.line, line);
        assert_eq!(&line[span.start..span.end], word, "{line}");
        assert_eq!(span.start, line.find(word).unwrap(), "{line}");
    }
}

#[test]
fn ten_thousand_errors_are_found_in_one_run() {
    let text = format!("[RULES]\n{}", "IN SHH(ACCEPT)\n".repeat(10_000));
    assert_eq!(cluster(&text).len(), 10_000);
}

#[test]
fn a_node_that_admits_no_other_machine_is_reported() {
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

#[test]
fn sets_of_exceptions_and_filters_of_one_family_are_reported() {
    assert_eq!(
        cluster("[IPSET some]\n!10.0.0.1\n[RULES]\nIN DROP -source +some\n"),
        ["cluster.fw (line 1): ipset 'some' has exceptions ('!') only: rules with it match no packet"]
    );
    let filter = |entries: &str, conf: &str| {
        let text = format!("[OPTIONS]\nenable: 1\n[IPSET ipfilter-net0]\n{entries}\n");
        found(&[
            ON,
            ("firewall/100.fw", &text),
            ("nodes/n1/qemu-server/100.conf", &format!("net0: virtio=BC:24:11:00:00:01,firewall=1\n{conf}")),
        ])
    };
    for (entries, conf, part) in [
        ("10.0.0.5", "", "holds no IPv6 address"),
        ("fd00::5", "", "holds no IPv4 address"),
        ("10.0.0.5\nfd00::5", "", ""),
        ("10.0.0.5", "ipconfig0: ip=10.0.0.5/24", ""),
        ("10.0.0.5", "ipconfig0: ip=10.0.0.5/24,ip6=fd00::5/64", "holds no IPv6 address"),
        ("fd00::5", "ipconfig0: ip=10.0.0.5/24,ip6=fd00::5/64", "holds no IPv4 address"),
    ] {
        let found = filter(entries, conf);
        assert_eq!(found.len(), usize::from(!part.is_empty()), "{entries} {conf}: {found:?}");
        assert!(found.iter().all(|one| one.contains(part)), "{found:?}");
    }
}
