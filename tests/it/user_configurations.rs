//! Configurations as people write them: which lines are accepted or refused, and the compiled rules.
use crate::trees::{bridge, chain, cluster, entries, facts, reports, tree, vm};
use pve_firewall::config::in_force;
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::iptables::ruleset::MacStyle;
use pve_firewall::model::Family;
use std::sync::Arc;

/// The rules of PVEFW-HOST-IN for this network interface, port or address.
pub fn host_in<'a>(compiled: &Compiled, with: &'a str) -> impl Iterator<Item = String> + use<'a> {
    chain(compiled, Family::V4, "PVEFW-HOST-IN").into_iter().filter(move |rule| rule.contains(with))
}

pub fn assert_clean(compiled: &Compiled) {
    assert_eq!(reports(compiled), [""; 0]);
}

#[test]
fn tcp_43_is_dropped_by_a_drop_policy_and_rejected_by_a_reject_policy() {
    let compiled = cluster("");
    for family in Family::ALL {
        assert_eq!(chain(&compiled, family, "PVEFW-Drop")[0], "-p tcp --dport 43 -j DROP");
        assert_eq!(chain(&compiled, family, "PVEFW-Reject")[0], "-p tcp --dport 43 -j PVEFW-reject");
    }
}

#[test]
fn multicast_listeners_pass_drop_and_reject_policies() {
    let compiled = cluster("");
    for name in ["PVEFW-Drop", "PVEFW-Reject"] {
        assert_eq!(chain(&compiled, Family::V4, name)[1], "-p igmp -j ACCEPT");
        let listeners = &chain(&compiled, Family::V6, name)[1..5];
        let expected = [130, 131, 132, 143].map(|kind| format!("-p icmpv6 -m icmpv6 --icmpv6-type {kind} -j ACCEPT"));
        assert_eq!(listeners, expected);
    }
    for (name, number) in [
        ("mld-listener-query", 130),
        ("mld-listener-report", 131),
        ("mld-listener-done", 132),
        ("mld-listener-reduction", 132),
        ("mld2-listener-report", 143),
    ] {
        let compiled = cluster(&format!("[RULES]\nIN DROP -p icmpv6 -icmp-type {name}\n"));
        assert_clean(&compiled);
        let rule = format!("-p icmpv6 -m icmpv6 --icmpv6-type {number} -j DROP");
        assert!(chain(&compiled, Family::V6, "PVEFW-HOST-IN").contains(&rule), "{name}");
    }
}

#[test]
fn blanks_and_tabs_separate_words_everywhere() {
    let rules = "IN  SSH(ACCEPT)\t-source\t\t10.0.0.1   -log  info\t# x\nOUT\tDROP \t -p\t tcp \t-dport\t22,80\n |\tIN \t ACCEPT\n";
    let compiled = cluster(&format!(
        "[ALIASES]\n\tlan\t \t10.0.0.0/8 \t# x\n[IPSET \t web ]\n !\t10.0.0.1\n\t10.0.0.0/8\t\n[RULES]\n{rules}GROUP\t gg  -i\tvmbr0\n\
                                     [group\t gg\t]\nIN\tDROP\t-source  +web\n"
    ));
    assert_clean(&compiled);
    assert_eq!(host_in(&compiled, "-s 10.0.0.1 -p tcp --dport 22 -j RETURN").count(), 1);
    assert_eq!(entries(&compiled, "PVEFW-0-web-v4"), ["10.0.0.0/8", "10.0.0.1 nomatch"]);
    let compiled = vm("", &format!("[RULES]\n{rules}"));
    assert_clean(&compiled);
    assert!(
        chain(&compiled, Family::V6, "tap100i0-OUT")
            .contains(&"-p tcp --match multiport --dports 22,80 -j DROP".to_string())
    );
    let files =
        [("firewall/cluster.fw", "[OPTIONS]\n\tenable:\t1\t# x\n"), ("nodes/n1/host.fw", &format!("[RULES]\n{rules}"))];
    assert_clean(&compile(&tree(&files), &facts()));
    // a macro and its action are one word
    for text in ["IN SSH (ACCEPT)", "OUT\tDNS\t(DROP) -dest 10.0.0.1", "|IN HTTPS  (REJECT)"] {
        for all in [
            reports(&cluster(&format!("[RULES]\n{text}\n"))),
            reports(&cluster(&format!("[GROUP gg]\n{text}\n"))),
            reports(&vm("", &format!("[RULES]\n{text}\n"))),
        ] {
            assert!(all.len() == 1 && all[0].ends_with("no blank before the parenthesis"), "{all:?}");
        }
    }
}

#[test]
fn an_option_without_its_colon_has_the_stricter_value() {
    for line in
        ["policy_out = DROP", "policy_out=DROP", "policy_out DROP", "policy_out : ACCEPT", "POLICY_OUT=accept # x"]
    {
        let compiled = cluster(&format!("{line}\n"));
        let expected = format!("/etc/pve/firewall/cluster.fw (line 3): can't parse option '{line}'");
        assert_eq!(reports(&compiled), [expected]);
        let last = chain(&compiled, Family::V4, "PVEFW-HOST-OUT").pop();
        assert_eq!(last.as_deref(), Some("-j DROP"), "{line}");
        let compiled = vm("", &format!("{line}\nipfilter=0\n"));
        assert_eq!(reports(&compiled).len(), 2);
        assert!(chain(&compiled, Family::V4, "tap100i0-OUT").contains(&"-j DROP".to_string()), "{line}");
        assert!(chain(&compiled, Family::V4, "tap100i0-OUT").iter().any(|rule| rule.contains("ipfilter-net0")));
    }
    for unclear in ["enable = 1", "enable=1", "enable 1", "enable"] {
        let text = format!("[OPTIONS]\n{unclear}\n");
        let on = Arc::new(tree(&[("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n")]));
        let now = Arc::new(tree(&[("firewall/cluster.fw", &text)]));
        let in_force = in_force(&now, Some(&on));
        assert_eq!(in_force.tree, on, "{unclear}");
        assert_eq!(in_force.reports.len(), 1);
    }
    assert_clean(&compile(&tree(&[("nodes/n1/host.fw", "[OPTIONS]\nnf_conntrack_helpers:\n")]), &facts()));
}

#[test]
fn the_lines_below_an_unknown_header_belong_to_no_section() {
    let compiled =
        cluster("[IPSET management]\n10.0.0.1\n[IPSETS blocked]\n192.0.2.0/24\n192.0.3.0/24\n[RULES]\nIN DROP -i a\n");
    assert_eq!(
        reports(&compiled),
        ["/etc/pve/firewall/cluster.fw (line 5): unknown section '[IPSETS blocked]': the lines below it are ignored"]
    );
    assert_eq!(entries(&compiled, "PVEFW-0-management-v4"), ["10.0.0.1", "127.0.0.0/8"]);
    assert_eq!(host_in(&compiled, "-i a").count(), 1);
}

#[test]
fn a_parameter_given_twice_is_an_error_of_its_line() {
    for (parameters, report) in [
        ("-p tcp -dport 23 -dport 2323", "-dport given twice"),
        ("-p tcp -sport 23 --sport 23", "--sport given twice"),
        ("-i a -i b", "-i given twice"),
        ("-log info -log nolog", "-log given twice"),
        ("-p icmp -icmp-type any -icmp-type any", "-icmp-type given twice"),
    ] {
        for text in [format!("[RULES]\nIN ACCEPT {parameters}\n"), format!("[group gg]\nIN ACCEPT {parameters}\n")] {
            let all = reports(&cluster(&text));
            assert!(all.len() == 1 && all[0].ends_with(report), "{all:?}");
        }
        let all =
            reports(&vm("", &format!("[RULES]\nOUT DROP {}\n", parameters.replace("-i a -i b", "-i net0 -i net0"))));
        assert!(all.len() == 1 && all[0].ends_with(report), "{all:?}");
    }
}

#[test]
fn a_macro_without_rules_for_the_family_is_an_error() {
    for rule in [
        "DHCPv6(ACCEPT) -source 192.0.2.1",
        "NeighborDiscovery(ACCEPT) -dest 192.0.2.0/24",
        "DHCPfwd(DROP) -source fd00::1",
        "NeighborDiscovery(DROP) -source 192.0.2.1-192.0.2.9",
    ] {
        for compiled in [cluster(&format!("[RULES]\nIN {rule}\n")), vm("", &format!("[RULES]\nIN {rule}\n"))] {
            let all = reports(&compiled);
            let mixed = all.len() == 1 && all[0].contains("macro: detected mixed ipv4/ipv6 addresses in rule");
            assert_eq!(mixed, rule != "DHCPfwd(DROP) -source fd00::1", "{rule}: {all:?}");
        }
    }
    assert_clean(&cluster("[RULES]\nIN DHCPv6(ACCEPT) -source fd00::1\nIN Ping(ACCEPT) -source 192.0.2.1\n"));
}

#[test]
fn a_protocol_with_the_number_0_is_none_or_an_error() {
    for none in ["ip", "0"] {
        let compiled = cluster(&format!("[RULES]\nIN DROP -i a -p {none}\n"));
        assert_clean(&compiled);
        assert_eq!(host_in(&compiled, "-i a").collect::<Vec<_>>(), ["-i a -j DROP"]);
    }
    let all = reports(&cluster("[RULES]\nIN ACCEPT -p hopopt\n"));
    assert!(all.len() == 1 && all[0].contains("proto: 'hopopt' has the number 0"), "{all:?}");
    let all = reports(&vm("", "[RULES]\nOUT ACCEPT -p hopopt\n"));
    assert!(all.len() == 1 && all[0].contains("proto: 'hopopt' has the number 0"), "{all:?}");
}

#[test]
fn nf_conntrack_allow_invalid_applies_to_packets_of_the_node() {
    for (value, dropped) in [("0", true), ("1", false), ("on", false), ("# none", true)] {
        let host = format!("[OPTIONS]\nnf_conntrack_allow_invalid: {value}\n");
        let files = [("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n"), ("nodes/n1/host.fw", host.as_str())];
        let compiled = compile(&tree(&files), &facts());
        for (family, name) in
            [(Family::V4, "PVEFW-HOST-IN"), (Family::V6, "PVEFW-HOST-OUT"), (Family::V4, "PVEFW-FORWARD")]
        {
            let rule = "-m conntrack --ctstate INVALID -j DROP".to_string();
            assert_eq!(chain(&compiled, family, name).contains(&rule), dropped, "{value} {name}");
        }
    }
}

#[test]
fn migration_ports_are_open_if_the_output_policy_is_not_accept() {
    for (policy, open) in [("ACCEPT", false), ("DROP", true), ("REJECT", true), ("DROP;", true)] {
        let compiled = cluster(&format!("policy_out: {policy}\n"));
        let rules = chain(&compiled, Family::V4, "PVEFW-HOST-OUT");
        assert_eq!(rules.iter().any(|rule| rule.contains("--dport 60000:60050")), open, "{policy}");
    }
}

#[test]
fn an_entry_of_the_file_takes_precedence_over_a_generated_one() {
    let set = |text: &str| entries(&vm("", &format!("[IPSET ipfilter-net0]\n{text}\n")), "PVEFW-100-ipfilter-net0-v6");
    let link_local = "fe80::be24:11ff:fe00:a01";
    assert_eq!(set("10.0.0.1"), ["::", "fe80::/10 nomatch", link_local]);
    assert!(set("fe80::/10").contains(&"fe80::/10".to_string()));
    assert!(set("!::").contains(&":: nomatch".to_string()));
    let management = |text: &str| entries(&cluster(&format!("[IPSET management]\n{text}\n")), "PVEFW-0-management-v4");
    assert_eq!(management("!local_network"), ["127.0.0.0/8 nomatch"]);
}

#[test]
fn arp_is_filtered_with_the_ip_filter() {
    let arp = |cluster: &str, guest: &str, name: &str| {
        let files = [
            ("firewall/cluster.fw", format!("[OPTIONS]\nenable: 1\n{cluster}")),
            ("firewall/100.fw", format!("[OPTIONS]\nenable: 1\n{guest}")),
            ("firewall/200.fw", format!("[OPTIONS]\nenable: 1\n{guest}")),
            ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:0A:01,bridge=vmbr0,firewall=1\n".to_string()),
            (
                "nodes/n1/lxc/200.conf",
                "net0: name=eth0,hwaddr=BC:24:11:00:0A:02,ip=10.0.0.5/24,firewall=1\n".to_string(),
            ),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        bridge(&compile(&tree(&files), &facts()), name, MacStyle::Short)
    };
    let probe = "-p ARP --arp-ip-src 0.0.0.0 -j RETURN";
    let own = "-p ARP --arp-ip-src 10.0.0.5 -j RETURN";
    let (vm, ct) = ("tap100i0-OUT-ARP", "veth200i0-OUT-ARP");
    assert_eq!(arp("", "ipfilter: 1\n", vm), [probe, "-j DROP"]);
    assert_eq!(arp("", "ipfilter: 1\n", ct), [probe, own, "-j DROP"]);
    assert_eq!(arp("", "[IPSET ipfilter-net0]\nfd00::1\n", vm), [probe, "-j DROP"]);
    assert_eq!(arp("", "[IPSET ipfilter-net0]\nfd00::1\n", ct), [probe, own, "-j DROP"]);
    assert_eq!(arp("", "[IPSET ipfilter-net0]\n!10.0.0.5\n", ct), [probe, "-j DROP"]);
    assert_eq!(arp("", "", ct), [""; 0]);
}

#[test]
fn the_syn_flood_limit_counts_a_packet_once() {
    let host = "[OPTIONS]\nprotection_synflood: 1\nnf_conntrack_helpers: ftp\n";
    let files = [("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n"), ("nodes/n1/host.fw", host)];
    let compiled = compile(&tree(&files), &facts());
    for family in Family::ALL {
        let (name, chain) = compiled.ruleset.raw[family].get_key_value("PVEFW-PREROUTING").unwrap();
        let lines: Vec<String> = chain.lines(name).map(|line| line.to_string()).collect();
        let at = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}"));
        assert!(at("-j CT --helper ftp") < at("--physdev-in fwln+ -j RETURN"), "{lines:?}");
        assert!(at("--physdev-in fwpr+ -j RETURN") < at("-m hashlimit"), "{lines:?}");
    }
}

/// Text as the web interface and the API write it: sorted property strings, levels that log nothing, disabled rules, comments.
#[test]
fn files_written_by_the_web_interface_are_accepted() {
    let files = [
        (
            "firewall/cluster.fw",
            "[OPTIONS]\n\nebtables: 1\nenable: 1\nlog_ratelimit: burst=50,enable=1,rate=20/minute\npolicy_forward: ACCEPT\n\
             policy_in: REJECT\npolicy_out: ACCEPT\n\n[ALIASES]\n\nlan 10.0.0.0/8 # the LAN\nv6 fd00::1\n\n[IPSET blacklist]\n\n\
             192.0.2.1 # bad\n\n[IPSET empty] # nothing yet\n\n\n[IPSET management]\n\n!10.0.0.7\nlan\n\n[RULES]\n\n\
             |IN SSH(ACCEPT) -i vmbr0 -log nolog # disabled\nGROUP web -i vmbr0\n|GROUP web\n\
             IN ACCEPT -source 10.0.0.1 -p tcp -dport 443 -log info # a # b\nFORWARD DROP -p udp -sport 53 -log err\n\
             OUT Ping(DROP) -dest v6 -log nolog\n\n[group empty]\n\n\n[group web] # of the web servers\n\n\
             IN HTTP(ACCEPT) -log nolog\n|OUT REJECT -dest +empty\n\n",
        ),
        (
            "nodes/n1/host.fw",
            "[OPTIONS]\n\nenable: 1\nlog_level_forward: nolog\nlog_level_in: info\nlog_level_out: nolog\n\
             log_nf_conntrack: 0\nndp: 1\nnf_conntrack_allow_invalid: 0\nnf_conntrack_helpers: ftp,tftp\n\
             nf_conntrack_max: 524288\nnf_conntrack_tcp_timeout_established: 7875\nnf_conntrack_tcp_timeout_syn_recv: 30\n\
             nftables: 0\nnosmurfs: 1\nprotection_synflood: 1\nprotection_synflood_burst: 500\n\
             protection_synflood_rate: 100\nsmurf_log_level: nolog\ntcp_flags_log_level: warning\ntcpflags: 1\n\n[RULES]\n\n\
             IN DROP -i vmbr0 -source +management -p icmp -icmp-type echo-request -log nolog\n\n",
        ),
        (
            "firewall/100.fw",
            "[OPTIONS]\n\ndhcp: 1\nenable: 1\nipfilter: 0\nlog_level_in: nolog\nlog_level_out: debug\nmacfilter: 1\nndp: 1\n\
             policy_in: DROP\npolicy_out: REJECT\nradv: 0\n\n[ALIASES]\n\nme 10.0.0.5\n\n[IPSET ipfilter-net0] # its own\n\n\
             10.0.0.5\n\n[RULES]\n\nIN HTTPS(ACCEPT) -i net0 -dest me -log nolog\n|OUT DROP -dest dc/lan # x\n\
             GROUP web -i net0 # all\n\n",
        ),
        ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:0A:01,bridge=vmbr0,firewall=1\n"),
        (
            "sdn/firewall/vnet0.fw",
            "[OPTIONS]\n\nenable: 1\nlog_level_forward: nolog\npolicy_forward: DROP\n\n[RULES]\n\nFORWARD ACCEPT -source dc/lan \
             -p tcp -dport 22 -log nolog\n|FORWARD DROP\n\n",
        ),
    ];
    assert_clean(&compile(&tree(&files), &facts()));
}

#[test]
fn the_port_of_a_corosync_link_is_accepted() {
    let corosync = |interface: &str| {
        format!(
            "totem {{\n transport: knet\n interface {{\n {interface}\n }}\n}}\nnodelist {{\n node {{\n name: n1\n ring0_addr: \
             10.0.0.1\n }}\n node {{\n name: n2\n ring0_addr: 10.0.0.2\n ring1_addr: nowhere\n }}\n}}\n"
        )
    };
    for (interface, port) in [
        ("linknumber: 0\n mcastport: 5415", Some("5415")),
        ("mcastport: 6000", Some("6000")),
        ("mcastport: 5405", None),
        ("mcastport: many", None),
    ] {
        let files = [("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n"), ("corosync.conf", &corosync(interface))];
        let compiled = compile(&tree(&files), &facts());
        let rules: Vec<_> = host_in(&compiled, "-s 10.0.0.2").collect();
        assert_eq!(rules.len(), 1 + usize::from(port.is_some()), "{interface}: {rules:?}");
        assert!(port.is_none_or(|port| rules[1].contains(&format!("--dport {port} "))), "{rules:?}");
        let unresolved = "ring1_addr of node 'n2', 'nowhere', does not resolve: no rules for this link";
        assert!(reports(&compiled).iter().any(|report| report.ends_with(unresolved)), "{:?}", reports(&compiled));
    }
}

#[test]
fn an_alias_or_option_that_is_set_twice_has_its_last_value() {
    let twice = "is already defined in line 4: this line is used";
    let compiled = cluster("[ALIASES]\nlan 10.0.0.0/8\nLAN 192.0.2.0/24\n[RULES]\nIN DROP -source lan\n");
    assert_eq!(reports(&compiled), [format!("/etc/pve/firewall/cluster.fw (line 5): alias 'lan' {twice}")]);
    assert_eq!(host_in(&compiled, "-s 192.0.2.0/24 -j DROP").count(), 1);
    let compiled = vm("", "[ALIASES]\nme 10.0.0.1\nme 10.0.0.2\n[RULES]\nIN DROP -dest guest/me\n");
    assert_eq!(reports(&compiled), [format!("/etc/pve/firewall/100.fw (line 5): alias 'me' {twice}")]);
    assert_eq!(chain(&compiled, Family::V4, "tap100i0-IN").iter().filter(|rule| rule.contains("10.0.0.2")).count(), 1);
    // two parts of a section, each with the alias
    let compiled = cluster("[ALIASES]\nlan 10.0.0.0/8\n[RULES]\n[ALIASES]\nlan 192.0.2.0/24\n");
    assert!(reports(&compiled).len() == 1 && reports(&compiled)[0].contains("(line 7)"), "{:?}", reports(&compiled));
    let compiled = cluster("policy_in: DROP\n[RULES]\n[OPTIONS]\npolicy_in: REJECT\n");
    let option =
        "/etc/pve/firewall/cluster.fw (line 6): option 'policy_in' is already set in line 3: this line is used";
    assert_eq!(reports(&compiled), [option]);
    assert_eq!(host_in(&compiled, "-j PVEFW-Reject").count(), 1);
    // an alias whose second definition is invalid keeps its first value
    let compiled = cluster("[ALIASES]\nlan 10.0.0.0/8\nlan 10.0.0\n[RULES]\nIN DROP -source lan\n");
    assert_eq!((reports(&compiled).len(), host_in(&compiled, "-s 10.0.0.0/8 -j DROP").count()), (1, 1));
}

#[test]
fn sets_and_groups_that_are_defined_twice_are_joined() {
    let compiled = cluster(
        "[IPSET blacklist]\n192.0.2.1\n[group gg]\nIN DROP -i a\n[IPSET Blacklist]\n192.0.2.2\n\
         [GROUP GG]\nIN DROP -p tcp\n[RULES]\nGROUP gg\n",
    );
    assert_eq!(entries(&compiled, "PVEFW-0-blacklist-v4"), ["192.0.2.1", "192.0.2.2"]);
    assert!(chain(&compiled, Family::V4, "GROUP-gg-IN").iter().any(|rule| rule == "-p tcp -j DROP"));
    let all = reports(&compiled);
    assert!(all.iter().filter(|report| report.ends_with("both parts are joined")).count() == 2, "{all:?}");
    let compiled = vm("", "[IPSET ipfilter-net0]\n10.0.0.1\n[RULES]\n[IPSET ipfilter-net0]\n10.0.0.2\n10.0.0.1\n");
    assert_eq!(entries(&compiled, "PVEFW-100-ipfilter-net0-v4"), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(reports(&compiled).len(), 2);
}
