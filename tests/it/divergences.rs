//! Intended differences between the rules of this firewall and of the official one. One test for each difference that the
//! recorded cases do not cover.
use crate::trees::{self, bridge, chain, cluster, entries, facts, reports, tree, vm};
use pve_firewall::iptables::compile::compile;
use pve_firewall::iptables::ruleset::{Family, MacStyle};

/// Checks that there is exactly one report with this text.
fn only_report(compiled: &pve_firewall::iptables::compile::Compiled, expected: &str) {
    let reports = reports(compiled);
    assert!(reports.len() == 1 && reports[0].contains(expected), "{expected}: {reports:#?}");
}

/// Checks that the host's chain contains this rule.
fn host_rule(rules: &str, family: Family, expected: &str) {
    let compiled = cluster(&format!("[RULES]\n{rules}"));
    let chain = chain(&compiled, family, "PVEFW-HOST-IN");
    assert!(chain.iter().any(|rule| rule == expected), "{rules}: {expected}\n{chain:#?}\n{:#?}", reports(&compiled));
}

#[test]
fn the_syn_recv_timeout_is_applied() {
    let host = "[OPTIONS]\nnf_conntrack_tcp_timeout_syn_recv: 45\nnf_conntrack_max: 300000\nlog_nf_conntrack: 1\n";
    let compiled = compile(&tree(&[("nodes/n1/host.fw", host)]), &facts());
    assert_eq!(compiled.settings.tcp_timeout_syn_recv, 45);
    assert_eq!(compiled.settings.conntrack_max, 303_104);
    assert_eq!(compiled.settings.tcp_timeout_established, 432_000);
    assert!(compiled.settings.log_conntrack);
}

#[test]
fn an_alias_in_a_filter_set_is_resolved_for_arp() {
    let compiled = vm("[ALIASES]\nnet 10.1.0.0/16\n", "[IPSET ipfilter-net0]\ndc/net\n");
    let arp = bridge(&compiled, "tap100i0-OUT-ARP", MacStyle::Padded);
    let probe = "-p ARP --arp-ip-src 0.0.0.0 -j RETURN";
    assert_eq!(arp, [probe, "-p ARP --arp-ip-src 10.1.0.0/16 -j RETURN", "-j DROP"]);
}

#[test]
fn more_spellings_are_accepted() {
    host_rule("IN DROP --iface vmbr0", Family::V4, "-i vmbr0 -j DROP");
    host_rule("IN DROP -iface vmbr0", Family::V4, "-i vmbr0 -j DROP");
    host_rule("IN DROP -p icmp -icmp-type 8", Family::V4, "-p icmp -m icmp --icmp-type 8 -j DROP");
    host_rule("IN DROP -p icmpv6 -icmp-type 255", Family::V6, "-p icmpv6 -m icmpv6 --icmpv6-type 255 -j DROP");
    host_rule("IN DROP -p ipv6-icmp -dport 128", Family::V6, "-p ipv6-icmp -m ipv6-icmp --icmpv6-type 128 -j DROP");
    host_rule("IN DROP -dest 192.168.1.155/24", Family::V4, "-d 192.168.1.155/24 -j DROP");
    host_rule("IN DROP -source 10/8", Family::V4, "-s 10/8 -j DROP");
    only_report(&cluster("[RULES]\nIN ACCEPT -dest 10.0.0\n"), "dest: invalid IP address");
    only_report(&cluster("[RULES]\nIN ACCEPT -p icmp -dport 255\n"), "dport: invalid port '255'");
    only_report(&cluster("[RULES]\nIN ACCEPT -p icmp -icmp-type 255\n"), "icmp-type: invalid icmp-type '255'");
}

#[test]
fn deny_means_drop_with_a_warning() {
    host_rule("IN DENY -p tcp -dport 23", Family::V4, "-p tcp --dport 23 -j DROP");
    host_rule("IN Telnet(DENY) -log info", Family::V4, "-p tcp --dport 23 -j DROP");
    let compiled = cluster("[RULES]\nIN DENY -log err\n");
    only_report(&compiled, "(line 4): action 'DENY' is treated as 'DROP'");
    let log = &chain(&compiled, Family::V6, "PVEFW-HOST-IN");
    assert!(log.iter().any(|rule| rule.ends_with("\":0:3:PVEFW-HOST-IN: DROP: \"")), "{log:#?}");
}

#[test]
fn an_invalid_log_ratelimit_leaves_the_default() {
    let compiled = cluster("log_ratelimit: rate=5/second\n[RULES]\nIN DROP -log info\n");
    only_report(&compiled, "can't parse option 'log_ratelimit: rate=5/second'");
    assert!(chain(&compiled, Family::V4, "PVEFW-HOST-IN").iter().any(|rule| rule.contains("--limit 1/sec -j NFLOG")));
}

#[test]
fn rules_are_written_as_the_kernel_prints_them() {
    let compiled =
        vm("[IPSET web]\n10.1.2.3/24\n!10.1.2.0/24\n::ffff:1.2.3.4\n", "[IPSET ipfilter-net0]\n10.5.6.7/16\n");
    assert_eq!(entries(&compiled, "PVEFW-0-web-v4"), ["10.1.2.0/24 nomatch"]);
    assert_eq!(entries(&compiled, "PVEFW-0-web-v6"), ["::ffff:1.2.3.4"]);
    let arp = bridge(&compiled, "tap100i0-OUT-ARP", MacStyle::Padded);
    assert_eq!(arp[1], "-p ARP --arp-ip-src 10.5.0.0/16 -j RETURN");
    assert_eq!(bridge(&compiled, "tap100i0-OUT", MacStyle::Padded)[0], "-s ! bc:24:11:00:0a:01 -j DROP");
    assert_eq!(bridge(&compiled, "tap100i0-OUT", MacStyle::Short)[0], "-s ! bc:24:11:0:a:1 -j DROP");
}

#[test]
fn group_names_are_case_insensitive_in_rules() {
    let compiled = cluster("[RULES]\nGROUP MyGrp\n[group mygrp]\nIN ACCEPT -p tcp -dport 80\n");
    assert_eq!(reports(&compiled), [""; 0]);
    assert_eq!(chain(&compiled, Family::V4, "GROUP-mygrp-IN").len(), 2);
}

#[test]
fn a_device_without_a_mac_has_rules_and_no_mac_filter() {
    let fw = "[OPTIONS]\nenable: 1\nipfilter: 1\n";
    let compiled = compile(
        &tree(&[
            ("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n"),
            ("firewall/100.fw", fw),
            ("firewall/200.fw", fw),
            ("nodes/n1/qemu-server/100.conf", "net0: virtio,firewall=1\n"),
            (
                "nodes/n1/lxc/200.conf",
                "net0: name=eth0,firewall=1\nnet1: garbage,firewall=1\nnet2: name=e,firewall=1,hwaddr=02:00:00:00:00:01\n",
            ),
        ]),
        &facts(),
    );
    for device in ["tap100i0", "veth200i0"] {
        let out = chain(&compiled, Family::V6, &format!("{device}-OUT"));
        assert!(!out.is_empty() && !out.iter().any(|rule| rule.contains("--mac-source")), "{device}: {out:#?}");
        assert_eq!(bridge(&compiled, &format!("{device}-OUT"), MacStyle::Padded).last().unwrap(), "-j ACCEPT");
    }
    assert_eq!(entries(&compiled, "PVEFW-100-ipfilter-net0-v6"), ["::", "fe80::/10 nomatch"]);
    assert_eq!(chain(&compiled, Family::V4, "veth200i1-IN"), [""; 0]);
    assert!(chain(&compiled, Family::V4, "veth200i2-OUT").iter().any(|rule| rule.contains("02:00:00:00:00:01")));
    assert_eq!(reports(&compiled).len(), 3, "{:#?}", reports(&compiled));
}

#[test]
fn port_0_is_accepted() {
    host_rule("IN DROP -p tcp -dport 0", Family::V4, "-p tcp --dport 0 -j DROP");
    host_rule("IN DROP -p udp -sport 0", Family::V6, "-p udp --sport 0 -j DROP");
    host_rule("IN DROP -p udplite -dport 7", Family::V4, "-p udplite --match multiport --dports 7 -j DROP");
}

#[test]
fn values_that_a_tool_would_refuse_are_errors_of_their_line() {
    let list = ["10.0.0.1"; 114].join(",");
    let ports = (1..=16).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    for (text, error) in [
        ("[RULES]\nIN ACCEPT -p tcp -dport ntp", "dport: invalid port 'ntp'"),
        ("[ALIASES]\nbad 1.2.3.4/33", "value does not look like a valid IP address or CIDR network"),
        ("[IPSET web]\n1.2.3.4/33", "cidr: value does not look like a valid IP address or CIDR network"),
        ("[ALIASES]\nall 0.0.0.0/0\n[IPSET web]\nall", "cidr: a zero prefix is not allowed in ipset entries"),
        (&format!("[RULES]\nIN ACCEPT -source {list}"), ": address list too long"),
        (&format!("[RULES]\nIN ACCEPT -p tcp -dport {ports}"), "dport: too many entries in port list"),
        ("[RULES]\nIN ACCEPT -p mptcp", "proto: unknown protocol 'mptcp'"),
        ("[RULES]\nIN ACCEPT -p tcp -dport 010", "dport: invalid port '010'"),
    ] {
        only_report(&cluster(text), error);
    }
}

#[test]
fn a_wrong_scope_affects_one_rule() {
    let cluster_text = "[IPSET web]\n10.0.0.1\n[group gg]\nIN ACCEPT -source +guest/web\nIN ACCEPT -p tcp -dport 80\n";
    let compiled = vm(cluster_text, "[RULES]\nIN ACCEPT -source +guest/web\nGROUP gg\n");
    let reports = reports(&compiled);
    assert_eq!(reports.len(), 2, "{reports:#?}");
    assert!(reports.iter().all(|report| report.contains("source: no such ipset 'web'")), "{reports:#?}");
    assert_eq!(chain(&compiled, Family::V4, "GROUP-gg-IN").len(), 2);
}

#[test]
fn the_order_of_sections_does_not_matter() {
    let compiled = vm(
        "[RULES]\nIN ACCEPT -source later -dest +set1\nIN ACCEPT -source local_network\nIN ACCEPT -source +management\n\
         [IPSET set1]\nlater\n[ALIASES]\nlater 10.0.0.1\n",
        "[RULES]\nIN ACCEPT -source +dc/management\nIN ACCEPT -source dc/local_network\n",
    );
    assert_eq!(reports(&compiled), [""; 0]);
    let host = chain(&compiled, Family::V4, "PVEFW-HOST-IN");
    for rule in [
        "-s 10.0.0.1 -m set --match-set PVEFW-0-set1-v4 dst -j RETURN",
        "-s 127.0.0.0/8 -j RETURN",
        "-m set --match-set PVEFW-0-management-v4 src -j RETURN",
    ] {
        assert!(host.iter().any(|one| one == rule), "{rule}\n{host:#?}");
    }
}

#[test]
fn the_arp_filter_lists_each_allowed_address_once() {
    let set = "[IPSET ipfilter-net0]\n10.0.0.1\n!10.0.0.2\nnonsense here\n10.0.0.9/24\n10.0.0.8/24\n";
    let arp = bridge(&vm("", set), "tap100i0-OUT-ARP", MacStyle::Padded);
    let source = |address: &str| format!("-p ARP --arp-ip-src {address} -j RETURN");
    assert_eq!(arp, [source("0.0.0.0"), source("10.0.0.1"), source("10.0.0.0/24"), "-j DROP".to_string()]);
    let only_exceptions = bridge(&vm("", "[IPSET ipfilter-net0]\n!10.0.0.2\n"), "tap100i0-OUT-ARP", MacStyle::Padded);
    assert_eq!(only_exceptions, [source("0.0.0.0"), "-j DROP".to_string()]);
}

#[test]
fn every_ethertype_is_printed_by_name() {
    let compiled = vm("", "layer2_protocols: ipv6,86DD,0806,802_1Q\n");
    let proto = bridge(&compiled, "tap100i0-OUT-PROTO", MacStyle::Padded);
    assert_eq!(proto, ["-p IPv6 -j RETURN", "-p IPv6 -j RETURN", "-p ARP -j RETURN", "-p 802_1Q -j RETURN", "-j DROP"]);
    only_report(&vm("", "layer2_protocols: ARP,1234\n"), "unknown ethernet protocol type: 1234");
}

#[test]
fn a_set_dropped_for_a_name_collision_drops_the_rules_that_use_it() {
    // both names have the same 31-bit hash
    let (one, other) = colliding_names();
    let text = format!("[RULES]\nIN ACCEPT -source +{other}\n[IPSET {one}]\n10.0.0.1\n[IPSET {other}]\n10.0.0.2\n");
    let compiled = cluster(&text);
    only_report(&compiled, &format!("ipset '{other}' is ignored: its name in the kernel"));
    assert!(
        !chain(&compiled, Family::V4, "PVEFW-HOST-IN").iter().any(|rule| rule.contains("-m set --match-set PVEFW-0-o"))
    );
    let used = chain(&compiled, Family::V4, "PVEFW-HOST-IN").iter().filter(|rule| rule.contains("--match-set")).count();
    assert_eq!(used, 5, "only the five rules for management use a set");
}

/// Two set names in order whose IPv4 sets have the same name in the kernel.
fn colliding_names() -> (String, String) {
    let mut seen = std::collections::HashMap::new();
    for number in 0_u32.. {
        let name = format!("collision-{number:09}");
        let id = format!("0-{name}-v4");
        let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        if let Some(first) = seen.insert(hash & 0x7fff_ffff, name.clone()) {
            return (first, name);
        }
    }
    unreachable!("31 bits collide within some 50,000 names")
}

#[test]
fn a_guest_with_an_unreadable_file_keeps_its_devices() {
    let mut tree = trees::vm_tree("", "");
    let unreadable = pve_firewall::inputs::File::Unreadable("Input/output error".into());
    tree.files.insert("firewall/100.fw".into(), unreadable);
    let facts = pve_firewall::inputs::Facts { live_devices: vec!["tap100i0".into(), "tap1000i0".into()], ..facts() };
    let compiled = compile(&tree, &facts);
    only_report(
        &compiled,
        "/etc/pve/firewall/100.fw: cannot be read (Input/output error): guest 100 keeps its live rules",
    );
    let incoming = chain(&compiled, Family::V4, "PVEFW-FWBR-IN");
    assert_eq!(incoming[1..], ["-m physdev --physdev-is-bridged --physdev-out tap100i0 -j tap100i0-IN"]);
    assert!(compiled.ruleset.kept.contains("tap100i0-OUT-ARP") && !compiled.ruleset.kept.contains("tap1000i0-IN"));
    assert_eq!(chain(&compiled, Family::V4, "tap100i0-IN"), [""; 0]);
}

#[test]
fn an_unknown_group_is_an_error_of_its_line_in_every_file() {
    let fw = "[OPTIONS]\nenable: 0\n[RULES]\nGROUP nope\n|GROUP nope\nGROUP nope -i net7\n";
    let compiled = compile(
        &tree(&[
            ("firewall/cluster.fw", "[OPTIONS]\nenable: 0\n[RULES]\nGROUP nope\n"),
            ("nodes/n1/host.fw", "[OPTIONS]\nenable: 0\n[RULES]\nGROUP nope\n"),
            ("sdn/firewall/vnet1.fw", "[RULES]\nGROUP nope\n"),
            ("firewall/100.fw", fw),
            ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:0A:01,firewall=1\n"),
        ]),
        &facts(),
    );
    let reports = reports(&compiled);
    assert_eq!(reports.len(), 6, "{reports:#?}");
    assert!(reports.iter().all(|report| report.ends_with(": no such security group 'nope'")), "{reports:#?}");
}

#[test]
fn errors_in_the_nodes_own_files_are_reported() {
    let compiled = compile(
        &tree(&[
            ("firewall/cluster.fw", "\u{feff}[OPTIONS]\nenable: 1\n"),
            (".members", "{\"nodelist\":{\"n1\":{\"ip\":\"nowhere\"}}}"),
            (".vmlist", "{\"ids\":{\"100\":{\"node\":\"n1\",\"type\":\"jail\"}}}"),
            ("corosync.conf", "totem {\n  garbage\n"),
        ]),
        &facts(),
    );
    assert!(compiled.enabled, "a byte order mark is ignored");
    assert_eq!(
        reports(&compiled),
        [
            "/etc/pve/.members: \"nowhere\" is not an address (node 'n1')",
            "/etc/pve/.vmlist: guest '100' is ignored: its type is neither qemu nor lxc",
            "/etc/pve/corosync.conf (line 1): '{' without a '}'",
            "/etc/pve/corosync.conf (line 2): invalid line: garbage",
        ]
    );
}

#[test]
fn more_than_32_devices_are_reached_through_a_tree() {
    let compiled = |count: u32| {
        let guests: Vec<u32> = (0..count).map(|number| 100 + number).collect();
        let conf = |vmid| format!("net0: virtio=BC:24:11:00:00:{:02X},bridge=vmbr0,firewall=1\n", vmid - 100);
        let files = guests.iter().flat_map(|vmid| {
            let fw = (format!("firewall/{vmid}.fw"), "[OPTIONS]\nenable: 1\n".to_string());
            [fw, (format!("nodes/n1/qemu-server/{vmid}.conf"), conf(vmid))]
        });
        let cluster = ("firewall/cluster.fw".to_string(), "[OPTIONS]\nenable: 1\n".to_string());
        let files: Vec<(String, String)> = files.chain([cluster]).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        compile(&tree(&files), &facts())
    };
    let jump =
        |way: &str, port: &str, to: &str| format!("-m physdev --physdev-is-bridged --physdev-{way} {port} -j {to}");
    let few = chain(&compiled(32), Family::V4, "PVEFW-FWBR-OUT");
    assert_eq!(few.len(), 32);
    assert_eq!(few[0], jump("in", "tap100i0", "tap100i0-OUT"));
    let many = compiled(33);
    for family in Family::ALL {
        assert_eq!(chain(&many, family, "PVEFW-FWBR-OUT"), [jump("in", "tap1+", "PVEFW-FWBR-OUT-tap1")]);
        let next = |digit: &str| jump("out", &format!("tap1{digit}+"), &format!("PVEFW-FWBR-IN-tap1{digit}"));
        assert_eq!(chain(&many, family, "PVEFW-FWBR-IN-tap1"), ["0", "1", "2", "3"].map(next));
        assert_eq!(chain(&many, family, "PVEFW-FWBR-IN-tap13")[0], jump("out", "tap130i0", "tap130i0-IN"));
    }
    let frames = bridge(&many, "PVEFW-FWBR-OUT", MacStyle::Padded);
    assert_eq!(frames, ["-i tap1+ -j PVEFW-FWBR-OUT-tap1"]);
}
