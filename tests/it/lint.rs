//! The findings of `check`.
mod access;

use pve_firewall::inputs::{Facts, File, Interfaces, Tree};
use pve_firewall::lint::{Diagnostic, check};
use std::fs;

const CONF: &str = "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nipconfig0: ip=10.0.0.5/24,gw=10.0.0.1\n";

pub fn findings(files: &[(&str, &str)]) -> Vec<Diagnostic> {
    findings_with(files, &[])
}

/// On a machine with these interfaces, each with the bridge or bond that it is a port of.
pub fn findings_with(files: &[(&str, &str)], interfaces: &[(&str, Option<&str>)]) -> Vec<Diagnostic> {
    let masters = interfaces.iter().map(|(name, master)| (name.to_string(), master.map(str::to_string)));
    let interfaces = Interfaces { masters: masters.collect(), ..Interfaces::default() };
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
    check(&tree, &facts, interfaces)
}

/// Each report, without the directory and with the suggestions.
pub fn found(files: &[(&str, &str)]) -> Vec<String> {
    shown(findings(files))
}

/// The same for other findings.
pub fn shown(findings: Vec<Diagnostic>) -> Vec<String> {
    let shown = |finding: Diagnostic| {
        let help: Vec<_> = finding.help.into_iter().flatten().collect();
        let text = finding.report.to_string().replace("/pve/firewall/", "");
        [vec![text], help].concat().join(" | ")
    };
    findings.into_iter().map(shown).collect()
}

/// The findings with either backend, except that the firewall is off.
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
        ("[OPTIONS]\nenable: 1\nipfilter: 1\n", 3, "contains no address of the guest"),
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

/// The warnings about the interface of a rule on a machine with some interfaces.
fn on_interface(cluster: &str, host: &str, more: &[(&str, &str)]) -> Vec<String> {
    let (cluster, host) = (format!("[OPTIONS]\nenable: 1\n{cluster}"), format!("[RULES]\n{host}"));
    let conf = ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n");
    let files = [&[("firewall/cluster.fw", cluster.as_str()), ("nodes/n1/host.fw", &host), conf], more].concat();
    let interfaces = [
        ("lo", None),
        ("vmbr0", None),
        ("eno1", Some("vmbr0")),
        ("eno2", Some("bond0")),
        ("bond0", Some("vmbr1")),
        ("vmbr1", None),
        ("eno3", Some("ovs-system")),
        ("ovs-system", None),
        ("vmbr0.5", None),
    ];
    shown(findings_with(&files, &interfaces))
}

#[test]
fn rules_for_interfaces_that_no_packet_passes_are_reported() {
    for name in ["vmbr0", "vmbr1", "vmbr0.5"] {
        assert_eq!(on_interface("", &format!("IN ACCEPT -i {name} -p tcp\n"), &[]), [""; 0], "{name}");
    }
    for (name, part) in [
        ("eno1", "packets to the node come by 'vmbr0': did you mean 'vmbr0'?"),
        ("eno2", "packets to the node come by 'bond0': did you mean 'bond0'?"),
        ("bond0", "packets to the node come by 'vmbr1': did you mean 'vmbr1'?"),
        ("eno3", "packets to the node come by the interface of its bridge"),
        ("vmbro", "no interface of this node has the name 'vmbro': no packet matches this rule; did you mean 'vmbr0'?"),
        ("wg-home", "no interface of this node has the name 'wg-home': no packet matches this rule"),
        ("enp0s20f0u3u1u2c2", "no interface of this node has the name 'enp0s20f0u3u1u2c2'"),
        ("vmbr0:1", "packets never have the name of an address label such as 'vmbr0:1': did you mean 'vmbr0'?"),
        ("lo", "packets of the loopback interface are always accepted"),
        ("net0", "'net0' is a name for devices of guests"),
        ("tap100i0", "belong in firewall/100.fw, with '-i net0'"),
        ("veth200i1", "belong in firewall/200.fw, with '-i net1'"),
        ("fwbr100i0", "'fwbr100i0' belongs to the firewall of a guest"),
        ("fwln100i0", "'fwln100i0' belongs to the firewall of a guest"),
        ("any", "a rule without -i matches every interface"),
        ("!vmbr0", "an interface cannot be excluded"),
    ] {
        for (cluster, host, at) in [
            ("", format!("OUT ACCEPT -i {name} -p tcp\n"), "/pve/nodes/n1/host.fw (line 2)"),
            (&format!("[RULES]\nIN ACCEPT -p tcp -i {name}\n")[..], String::new(), "cluster.fw (line 4)"),
            (
                &format!("[GROUP gg]\nIN ACCEPT\n[RULES]\nGROUP gg -i {name}\n")[..],
                String::new(),
                "cluster.fw (line 6)",
            ),
        ] {
            let found = on_interface(cluster, &host, &[]);
            assert!(found.len() == 1 && found[0].starts_with(at) && found[0].contains(part), "{name}: {found:?}");
        }
    }
    // rules of cluster.fw may be for other nodes
    let members = (".members", r#"{"nodelist":{"n1":{"ip":"192.168.7.2"},"n2":{"ip":"192.168.7.3"}}}"#);
    assert_eq!(on_interface("[RULES]\nIN ACCEPT -i wg-home -p tcp\n", "", &[members]), [""; 0]);
    assert_eq!(on_interface("[RULES]\nIN ACCEPT -i vmbro -p tcp\n", "", &[members]).len(), 1);
    assert_eq!(on_interface("", "IN ACCEPT -i wg-home -p tcp\n", &[members]).len(), 1);
    // on a machine that is not the node, only the name can be checked
    let elsewhere = |rule: &str| {
        let text = format!("[OPTIONS]\nenable: 1\n[RULES]\n{rule}\n");
        shown(findings_with(&[("firewall/cluster.fw", &text)], &[("lo", None), ("eth0", None)])).len()
    };
    assert_eq!([elsewhere("IN ACCEPT -i vmbr9 -p tcp"), elsewhere("IN ACCEPT -i tap100i0 -p tcp")], [0, 1]);
}

#[test]
fn names_of_other_files_and_invalid_definitions_are_explained() {
    let guest = "[OPTIONS]\nenable: 1\n[ALIASES]\nme 10.0.0.5\nbad 10.0.0\n[IPSET friends]\n10.0.0.9\nbad\n[RULES]\n\
                 IN ACCEPT -source +friends\nIN DROP -source guest/bad\nIN DROP -dest lan2\n";
    let other =
        "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -source +friends\nIN DROP -source guest/me\nIN DROP -source dc/bad\n";
    let cluster = "[OPTIONS]\nenable: 1\n[ALIASES]\nlan1 10.0.0.0/8\nlan2 = 10.0.0.0/8\n[RULES]\nIN DROP -dest +friends\n\
                   IN DROP -dest me\nIN DROP -source lan2\nIN DROP -source +lan1\n[GROUP gg]\nIN DROP -dest lan2\nIN DROP -dest guest/me\n";
    let container = "net0: name=eth0,hwaddr=BC:24:11:00:00:02,bridge=vmbr0,firewall=1,ip=10.0.0.7/24\n";
    let files = [
        ("firewall/cluster.fw", cluster),
        ("firewall/100.fw", guest),
        ("firewall/200.fw", other),
        ("nodes/n1/qemu-server/100.conf", CONF),
        ("nodes/n1/lxc/200.conf", container),
    ];
    let found = found(&files);
    for (at, help) in [
        ("cluster.fw (line 7)", "it is defined in 100.fw, for that guest alone: define it in cluster.fw"),
        ("cluster.fw (line 8)", "it is defined in 100.fw, for that guest alone: define it in cluster.fw"),
        ("cluster.fw (line 9)", "its definition in line 5 of cluster.fw has an error"),
        ("cluster.fw (line 10)", "did you mean 'lan1'?"),
        ("cluster.fw (line 12)", "its definition in line 5 of cluster.fw has an error"),
        ("cluster.fw (line 13)", "it is defined in 100.fw, for that guest alone"),
        ("100.fw (line 8)", "its definition in line 5 of 100.fw has an error"),
        ("100.fw (line 11)", "its definition in line 5 of 100.fw has an error"),
        ("100.fw (line 12)", "its definition in line 5 of cluster.fw has an error"),
        ("200.fw (line 4)", "it is defined in 100.fw, for that guest alone"),
        ("200.fw (line 5)", "it is defined in 100.fw, for that guest alone"),
        ("200.fw (line 6)", "define it in [ALIASES]; host names are not looked up"),
    ] {
        let with_help = |one: &&String| one.starts_with(at) && one.contains(help);
        assert!(found.iter().any(|one| with_help(&one)), "{at}: {help}\n{found:#?}");
    }
}

#[test]
fn check_reports_the_value_that_replaces_an_invalid_one() {
    let label = |path: &str, line: &str| {
        let text = format!("[OPTIONS]\n{line}\n");
        let found = findings(&[(path, &text)]);
        let of_line = |finding: &&Diagnostic| finding.report.line == Some(2) && !finding.report.marks.is_empty();
        found.iter().find(of_line).unwrap_or_else(|| panic!("{line}: {found:?}")).report.marks[0].label.clone()
    };
    let (cluster, host, guest, vnet) =
        ("firewall/cluster.fw", "nodes/n1/host.fw", "firewall/100.fw", "sdn/firewall/vnet0.fw");
    for (path, line, in_force) in [
        (cluster, "policy_out = DROP", "policy_out: DROP"),
        (cluster, "policy_in DROP", "policy_in: DROP"),
        (cluster, "policy_forward=ACCEPT", "policy_forward: DROP"),
        (cluster, "log_ratelimit: burst=5", "the default, log_ratelimit: enable=1,rate=1/second,burst=5"),
        (cluster, "enable = 1", "the previous value, else 0"),
        (host, "enable: maybe", "the previous value, else 0"),
        (host, "nosmurfs 0", "nosmurfs: 1"),
        (host, "log_level_in: loud", "the default, log_level_in: nolog"),
        (host, "nf_conntrack_max: 262144k", "the default, nf_conntrack_max: 262144"),
        (guest, "ipfilter=0", "ipfilter: 1"),
        (guest, "policy_out : ACCEPT", "policy_out: DROP"),
        (guest, "dhcp: 2", "the default, dhcp: 1"),
        (guest, "ips_queues: 1-3", "the default, ips_queues: 0"),
        (vnet, "policy_forward REJECT", "policy_forward: DROP"),
        (vnet, "log_level_forward: warn", "the default, log_level_forward: nolog"),
    ] {
        assert_eq!(label(path, line), format!("in force: {in_force}"), "{line}");
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
        ("10.0.0.5", "", "contains no IPv6 address"),
        ("fd00::5", "", "contains no IPv4 address"),
        ("10.0.0.5\nfd00::5", "", ""),
        ("10.0.0.5", "ipconfig0: ip=10.0.0.5/24", ""),
        ("10.0.0.5", "ipconfig0: ip=10.0.0.5/24,ip6=fd00::5/64", "contains no IPv6 address"),
        ("fd00::5", "ipconfig0: ip=10.0.0.5/24,ip6=fd00::5/64", "contains no IPv4 address"),
    ] {
        let found = filter(entries, conf);
        assert_eq!(found.len(), usize::from(!part.is_empty()), "{entries} {conf}: {found:?}");
        assert!(found.iter().all(|one| one.contains(part)), "{found:?}");
    }
}
