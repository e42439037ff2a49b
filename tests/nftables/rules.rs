//! The nft rules that are compiled from configured rules.
use crate::{nft_trees, trees};
use pve_firewall::inputs::File;
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::{Interval, Ruleset, SetKind};

/// The rules of a chain, without the rules that every guest has first.
fn chain(ruleset: &Ruleset, table: TableName, name: &str) -> Vec<String> {
    let chain = &ruleset.tables[&table].chains[name];
    let mut lines: Vec<String> = Vec::new();
    for rule in chain.rules() {
        let mut text = String::new();
        rule.put(&mut text);
        lines.push(text);
    }
    let own = lines.iter().position(|line| line.starts_with("ct mark set"));
    lines.split_off(own.map_or(0, |at| at + 1))
}

/// The compiled rules of a guest's incoming rules, without the policy.
fn incoming(cluster: &str, rules: &str) -> Vec<String> {
    let ruleset =
        nft_trees::rules(&trees::vm_tree(cluster, &format!("policy_in: ACCEPT\n{rules}")), &nft_trees::facts());
    let mut lines = chain(&ruleset, TableName::Guests, "guest-100-in");
    assert_eq!(lines.pop().as_deref(), Some("accept"));
    lines
}

#[test]
fn each_kind_of_match_is_compiled_to_its_nft_match() {
    let cluster =
        "[ALIASES]\nten 10.0.0.0/8\n[IPSET both]\n10.1.0.0/16\n!10.1.2.0/24\nfd00::/8\n[IPSET six]\nfd01::/16\n";
    for (rule, expected) in [
        ("IN DROP", &["drop"][..]),
        ("IN DROP -p tcp -dport 22", &["tcp dport 22 drop"]),
        ("IN DROP -p tcp -dport 80,81,443", &["tcp dport 80-81 drop", "tcp dport 443 drop"]),
        ("IN DROP -p udp -sport 53 -dport 1024:65535", &["udp sport 53 udp dport 1024-65535 drop"]),
        ("IN DROP -p tcp -dport 0:65535", &["meta l4proto 6 drop"]),
        ("IN DROP -p gre", &["meta l4proto 47 drop"]),
        ("IN DROP -p icmp", &["meta protocol ip meta l4proto 1 drop"]),
        (
            "IN DROP -p icmp -icmp-type host-unreachable",
            &["meta protocol ip meta l4proto 1 icmp type 3 icmp code 1 drop"],
        ),
        ("IN DROP -p icmpv6 -icmp-type 135", &["meta protocol ip6 meta l4proto 58 icmpv6 type 135 drop"]),
        ("IN DROP -source ten", &["ip saddr 10.0.0.0/8 drop"]),
        ("IN DROP -source 10.1.2.3/24 -p tcp", &["ip saddr 10.1.2.0/24 meta l4proto 6 drop"]),
        ("IN DROP -source 0.0.0.0/0", &["meta protocol ip drop"]),
        ("IN DROP -dest 10.0.0.1-10.0.0.6", &["ip daddr 10.0.0.1-10.0.0.6 drop"]),
        ("IN DROP -dest fd00::1,fd00::3", &["ip6 daddr fd00::1 drop", "ip6 daddr fd00::3 drop"]),
        ("IN DROP -source +both", &["ip saddr @v4-dc/both drop", "ip6 saddr @v6-dc/both drop"]),
        ("IN DROP -source +six", &["ip6 saddr @v6-dc/six drop"]),
        ("IN DROP -source +both -dest 10.9.9.9", &["ip saddr @v4-dc/both ip daddr 10.9.9.9 drop"]),
        ("IN DROP -source +six -dest 10.9.9.9", &[]),
        (
            "IN Ping(DROP)",
            &[
                "meta protocol ip meta l4proto 1 icmp type 8 drop",
                "meta protocol ip6 meta l4proto 58 icmpv6 type 128 drop",
            ],
        ),
        ("IN Ping(DROP) -source 10.0.0.0/24", &["ip saddr 10.0.0.0/24 meta l4proto 1 icmp type 8 drop"]),
        ("IN DROP -i net0 -p tcp -dport 22", &["tcp dport 22 drop"]),
        ("IN DROP -i net1 -p tcp -dport 22", &[]),
        ("IN REJECT -p tcp -dport 22", &["tcp dport 22 drop"]),
        ("OUT DROP -p tcp -dport 22", &[]),
    ] {
        assert_eq!(incoming(cluster, &format!("[RULES]\n{rule}")), expected, "{rule}");
    }
}

#[test]
fn long_lists_become_sets_and_small_sets_of_guests_become_rules() {
    let list: Vec<String> = (1..=9).map(|at| format!("10.0.{at}.7")).collect();
    let guest = format!("[IPSET few]\n10.0.0.1\n10.0.0.9\n[IPSET many]\n{}\n[RULES]\n", list.join("\n"));
    let rules = format!("{guest}IN DROP -source {}\nIN DROP -source +few\nIN DROP -source +many", list.join(","));
    let lines = incoming("", &rules);
    assert!(lines[0].starts_with("ip saddr @v4-list/") && lines[0].ends_with(" drop"), "{lines:?}");
    assert_eq!(lines[1..], ["ip saddr 10.0.0.1 drop", "ip saddr 10.0.0.9 drop", "ip saddr @v4-guest-100/many drop"]);
}

#[test]
fn the_longest_prefix_decides_what_a_set_contains() {
    let tree = trees::vm_tree("[IPSET set]\n10.0.0.0/24\n!10.0.0.0/30\n10.0.0.1\n", "[RULES]\nIN ACCEPT -source +set");
    let ruleset = nft_trees::rules(&tree, &nft_trees::facts());
    let set = &ruleset.tables[&TableName::Guests].sets["v4-dc/set"];
    assert_eq!(set.elements(), "10.0.0.1, 10.0.0.4-10.0.0.255");
    assert!(matches!(&set.kind, SetKind::Addresses(..)));
}

#[test]
fn logs_name_the_chain_the_action_and_the_policy() {
    let cluster = "log_ratelimit: 1,rate=10/minute,burst=20\n[GROUP gg]\nIN DROP -p tcp -dport 1 -log err\n";
    let guest = "log_level_in: warning\n[RULES]\nIN REJECT -log info\nGROUP gg";
    let ruleset = nft_trees::rules(&trees::vm_tree(cluster, guest), &nft_trees::facts());
    let limit = "limit rate 10/minute burst 20 packets log prefix";
    assert_eq!(
        chain(&ruleset, TableName::Guests, "guest-100-in"),
        [
            &format!(r#"{limit} ":100:6:guest-100-in: REJECT: " group 0"#),
            "drop",
            "jump group-gg-in",
            "jump policy-drop",
            &format!(r#"{limit} ":100:4:guest-100-in: policy DROP: " group 0"#),
            "drop",
        ]
    );
    let group = chain(&ruleset, TableName::Guests, "group-gg-in");
    assert_eq!(group[0], format!(r#"tcp dport 1 {limit} ":0:3:group-gg-in: DROP: " group 0"#));
}

#[test]
fn a_forward_rule_with_an_interface_drops_both_directions_and_accepts_none() {
    let rules = "[RULES]\nFORWARD DROP -i eth0\nFORWARD ACCEPT -i eth1\nFORWARD ACCEPT -p tcp -dport 80";
    let ruleset = nft_trees::rules(&trees::vm_tree(rules, ""), &nft_trees::facts());
    assert_eq!(
        chain(&ruleset, TableName::Host, "cluster-forward"),
        [r#"iifname "eth0" drop"#, r#"oifname "eth0" drop"#, "tcp dport 80 accept", "accept"]
    );
}

#[test]
fn sets_of_sdn_are_in_the_table_that_uses_them() {
    let running = r#"{"vnets":{"ids":{"vnet0":{"zone":"z"}}},"subnets":{"ids":{
        "z-10.1.0.0-24":{"vnet":"vnet0","gateway":"10.1.0.1","dhcp-range":["start-address=10.1.0.8,end-address=10.1.0.20"]},
        "z-fd01::-64":{"vnet":"vnet0"}}}}"#;
    let ipam = r#"{"zones":{"z":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.9":{"vmid":"100"}}}}}}}"#;
    let guest = "policy_in: ACCEPT\n[RULES]\nIN DROP -source +sdn/vnet0-all\nIN DROP -source +sdn/vnet0-no-gateway -dest \
                 +sdn/guest-ipam-100\nIN DROP -source +sdn/vnet0-dhcp\nIN DROP -source +sdn/vnet0-gateway\n";
    let mut tree = trees::vm_tree("", guest);
    for (path, text) in [("sdn/.running-config", running), ("sdn/pve-ipam-state.json", ipam)] {
        tree.files.insert(path.into(), File::Content(text.as_bytes().into()));
    }
    let ruleset = nft_trees::rules(&tree, &nft_trees::facts());
    let mut lines = chain(&ruleset, TableName::Guests, "guest-100-in");
    lines.pop();
    assert_eq!(
        lines,
        [
            "ip saddr @v4-sdn/vnet0-all drop",
            "ip6 saddr @v6-sdn/vnet0-all drop",
            "ip saddr @v4-sdn/vnet0-no-gateway ip daddr @v4-sdn/guest-ipam-100 drop",
            "ip saddr @v4-sdn/vnet0-dhcp drop",
            "ip saddr @v4-sdn/vnet0-gateway drop",
        ]
    );
    let ends = |table, name: &str| match &ruleset.tables[&table].sets.get(name)?.kind {
        SetKind::Addresses(_, set) => Some(set.intervals().iter().map(Interval::ends).collect::<Vec<_>>()),
        _ => None,
    };
    for (name, expected) in [
        ("v4-sdn/vnet0-all", &[("10.1.0.0", "10.1.0.255")][..]),
        ("v4-sdn/vnet0-no-gateway", &[("10.1.0.0", "10.1.0.0"), ("10.1.0.2", "10.1.0.255")]),
        ("v4-sdn/vnet0-dhcp", &[("10.1.0.8", "10.1.0.20")]),
        ("v4-sdn/guest-ipam-100", &[("10.1.0.9", "10.1.0.9")]),
    ] {
        let expected = expected.iter().map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap())).collect();
        assert_eq!(ends(TableName::Guests, name), Some(expected), "{name}");
    }
    assert_eq!(ends(TableName::Host, "v4-sdn/vnet0-all"), None);
}

#[test]
fn both_tables_assign_conntrack_helpers() {
    for (options, tables) in [("", &[TableName::Host, TableName::Guests][..]), ("enable: 0\n", &[TableName::Guests])] {
        let mut tree = trees::vm_tree("", "");
        let text = format!("[OPTIONS]\n{options}nf_conntrack_helpers: ftp,irc\n");
        tree.files.insert("nodes/n1/host.fw".into(), File::Content(text.as_bytes().into()));
        let ruleset = nft_trees::rules(&tree, &nft_trees::facts());
        assert_eq!(ruleset.tables.keys().copied().collect::<Vec<_>>(), tables);
        for table in tables {
            assert_eq!(
                chain(&ruleset, *table, "helpers"),
                [
                    r#"tcp dport 21 ct helper set "helper-ftp-tcp""#,
                    r#"meta protocol ip tcp dport 6667 ct helper set "helper-irc-tcp""#
                ]
            );
            let helpers: Vec<_> = ruleset.tables[table].helpers.keys().map(|name| name.as_str()).collect();
            assert_eq!(helpers, ["helper-ftp-tcp", "helper-irc-tcp"]);
        }
    }
}

/// The rules of `--strict-layer2` at the beginning of a guest's chain; `conf` is added to its device line with `firewall=1`.
fn strict_layer2_rules(conf: &str, options: &str, direction: &str) -> Vec<String> {
    let mut tree = trees::vm_tree("", options);
    let path = "nodes/n1/qemu-server/100.conf";
    let text = format!("net0: virtio=BC:24:11:00:0A:01,bridge=vmbr0,firewall=1{conf}\n");
    tree.files.insert(path.into(), File::Content(text.as_bytes().into()));
    let mut facts = nft_trees::facts();
    facts.options.strict_layer2 = true;
    let ruleset = nft_trees::rules(&tree, &facts);
    let rules = ruleset.tables[&TableName::Guests].chains[format!("guest-100-{direction}").as_str()].rules().to_vec();
    rules.iter().map(|rule| rule.text()).filter(|text| text.starts_with("ether type ")).collect()
}

#[test]
fn strict_layer2_drops_frames_that_bypass_the_rules() {
    let all = ["0x8100", "0x88a8", "0x8863", "0x8864", "0x0000-0x05ff"];
    for (conf, options, refused) in [
        ("", "", &all[..]),
        (",trunks=5", "", &all[2..]),
        ("", "layer2_protocols: IPv4,PPP_SES\n", &["0x8100", "0x88a8", "0x8863", "0x0000-0x05ff"]),
        ("", "layer2_protocols: ARP\n", &all[..]),
    ] {
        let expected: Vec<String> = refused.iter().map(|types| format!("ether type {types} drop")).collect();
        assert_eq!(strict_layer2_rules(conf, options, "in"), expected, "{conf} {options}");
        let out = strict_layer2_rules(conf, options, "out");
        assert_eq!(out[..expected.len()], expected, "{conf} {options}");
    }
    let plain = nft_trees::rules(&trees::vm_tree("", ""), &nft_trees::facts());
    for chain in ["guest-100-in", "guest-100-out"] {
        let chain = &plain.tables[&TableName::Guests].chains[chain];
        assert!(chain.rules().iter().all(|rule| !rule.text().starts_with("ether type ")));
    }
}
