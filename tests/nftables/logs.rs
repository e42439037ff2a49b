//! What is logged: the prefixes and limits of compiled log rules, and the lines of pvefw-logger for such prefixes.
use crate::nflog::{TIME, ipv4, line_of, message};
use crate::{nft_trees, trees};
use pve_firewall::inputs::{File, Tree};
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::{Action, Rule, Ruleset};
use std::collections::BTreeMap;

const CLUSTER: &str = "firewall/cluster.fw";
const HOST: &str = "nodes/n1/host.fw";
const GUEST: &str = "firewall/100.fw";
const VNET: &str = "sdn/firewall/vnet0.fw";

/// The tree with other files.
fn with(mut tree: Tree, files: &[(&str, String)]) -> Tree {
    for (path, text) in files {
        tree.files.insert((*path).into(), File::Content(text.as_bytes().into()));
    }
    tree
}

fn compile(tree: &Tree) -> Ruleset {
    nft_trees::rules(tree, &nft_trees::facts())
}

/// The log rules of a table: the chain, the text of the rule, and the text of the next rule.
fn logs(ruleset: &Ruleset, table: TableName) -> Vec<(String, String, String)> {
    let text = |rule: &Rule| {
        let mut text = String::new();
        rule.put(&mut text);
        text
    };
    let mut found = Vec::new();
    for (name, chain) in ruleset.tables.get(&table).into_iter().flat_map(|table| &table.chains) {
        let pairs = chain.rules().windows(2).filter(|pair| matches!(pair[0].action, Action::Log(_)));
        found.extend(pairs.map(|pair| (name.to_string(), text(&pair[0]), text(&pair[1]))));
    }
    found
}

/// The prefix in the text of a log rule.
fn prefix(rule: &str) -> &str {
    let rest = rule.split_once("log prefix \"").unwrap_or_else(|| panic!("{rule}")).1;
    rest.strip_suffix("\" group 0").unwrap_or_else(|| panic!("group 0: {rule}"))
}

/// The line of pvefw-logger for a packet that a rule with this prefix logs, without the fields of the packet.
fn logged(prefix: &str) -> String {
    let terminated = [prefix.as_bytes(), b"\0"].concat();
    let line = line_of(&message(7, 0x0800, &ipv4(2, 0, &[])).with(10, &terminated).bytes(), BTreeMap::new());
    line.split_once("SRC=").unwrap_or_else(|| panic!("{line}")).0.replace(&format!(" {TIME}"), "")
}

const LEVELS: [&str; 9] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"];

/// A policy, and what its log lines begin with.
struct Policy {
    file: &'static str,
    key: &'static str,
    /// The file and the option with its level.
    level: (&'static str, &'static str),
    vmid: u32,
    chain: &'static str,
    tables: &'static [TableName],
}

const HOST_TABLE: &[TableName] = &[TableName::Host];
const GUESTS_TABLE: &[TableName] = &[TableName::Guests];

#[rustfmt::skip]
const POLICIES: [Policy; 6] = [
    Policy { file: CLUSTER, key: "policy_in", level: (HOST, "log_level_in"), vmid: 0, chain: "cluster-in", tables: HOST_TABLE },
    Policy { file: CLUSTER, key: "policy_out", level: (HOST, "log_level_out"), vmid: 0, chain: "cluster-out", tables: HOST_TABLE },
    Policy { file: CLUSTER, key: "policy_forward", level: (HOST, "log_level_forward"), vmid: 0, chain: "cluster-forward", tables: HOST_TABLE },
    Policy { file: GUEST, key: "policy_in", level: (GUEST, "log_level_in"), vmid: 100, chain: "guest-100-in", tables: GUESTS_TABLE },
    Policy { file: GUEST, key: "policy_out", level: (GUEST, "log_level_out"), vmid: 100, chain: "guest-100-out", tables: GUESTS_TABLE },
    Policy { file: VNET, key: "policy_forward", level: (VNET, "log_level_forward"), vmid: 0, chain: "bridge-vnet0", tables: &TableName::ALL },
];

impl Policy {
    /// Checks the log rules with this action and level.
    fn check(&self, action: &str, number: usize) {
        let Policy { file, key, level, vmid, chain, tables } = self;
        let word = LEVELS[number];
        let text = |of: &str| {
            let line = |file, key, value| if of == file { format!("{key}: {value}\n") } else { String::new() };
            format!("[OPTIONS]\nenable: 1\n{}{}", line(*file, *key, action), line(level.0, level.1, word))
        };
        let files = [CLUSTER, HOST, GUEST, VNET].map(|of| (of, text(of)));
        let ruleset = compile(&with(trees::vm_tree("", ""), &files));
        for table in TableName::ALL {
            let rules = logs(&ruleset, table);
            let case = format!("{file} {key}: {action}, {word}, {table}: {rules:?}");
            assert_eq!(rules.len(), usize::from(tables.contains(&table) && word != "nolog"), "{case}");
            let Some((_, log, next)) = rules.first() else { continue };
            assert_eq!(logged(prefix(log)), format!("{vmid} {number} {chain} policy {action}: "), "{case}");
            let verdict = match action {
                "ACCEPT" => "accept",
                // the kernel cannot reject a packet to a guest
                "REJECT" if *chain != "guest-100-in" => "goto do-reject",
                _ => "drop",
            };
            assert_eq!(next, verdict, "{case}");
        }
    }
}

#[test]
fn each_policy_is_logged_at_its_level_and_with_its_action() {
    for policy in POLICIES {
        let forwards = policy.key == "policy_forward";
        for action in ["ACCEPT", "DROP", "REJECT"].iter().filter(|action| !forwards || **action != "REJECT") {
            (0..LEVELS.len()).for_each(|number| policy.check(action, number));
        }
    }
}

#[test]
fn without_a_level_nothing_is_logged() {
    let policies = "policy_in: REJECT\npolicy_out: DROP\n";
    let forward = "policy_forward: DROP\n";
    let tree = trees::vm_tree(&format!("{policies}{forward}"), policies);
    let ruleset = compile(&with(tree, &[(VNET, format!("[OPTIONS]\nenable: 1\n{forward}"))]));
    for table in TableName::ALL {
        assert_eq!(logs(&ruleset, table), [], "{table}");
    }
}

#[test]
fn every_log_rule_has_the_configured_limit() {
    for (option, expected) in [
        ("", "limit rate 1/second burst 5 packets log "),
        ("log_ratelimit: 1\n", "limit rate 1/second burst 5 packets log "),
        ("log_ratelimit: 1,rate=10/minute,burst=20\n", "limit rate 10/minute burst 20 packets log "),
        ("log_ratelimit: enable=1,rate=3/hour\n", "limit rate 3/hour burst 5 packets log "),
        ("log_ratelimit: 1,burst=0\n", "limit rate 1/second burst 5 packets log "),
        ("log_ratelimit: enable=0,rate=10/minute\n", "log "),
        ("log_ratelimit: 0\n", "log "),
    ] {
        let cluster =
            format!("{option}[GROUP gg]\nIN DROP -p udp -log err\n[RULES]\nGROUP gg\nFORWARD DROP -log info\n");
        let levels = "log_level_in: info\nlog_level_out: info\n";
        let guest = format!("{levels}[RULES]\nGROUP gg\nOUT DROP -p udp -log info\n");
        let host = format!(
            "[OPTIONS]\ntcpflags: 1\nsmurf_log_level: err\ntcp_flags_log_level: err\nlog_level_forward: info\n{levels}"
        );
        let vnet = "[OPTIONS]\nenable: 1\nlog_level_forward: info\n".to_string();
        let ruleset = compile(&with(trees::vm_tree(&cluster, &guest), &[(HOST, host), (VNET, vnet)]));
        for (table, count) in [(TableName::Host, 8), (TableName::Guests, 7)] {
            let rules = logs(&ruleset, table);
            assert_eq!(rules.len(), count, "{table}: {rules:#?}");
            for (_, log, _) in rules {
                let (_, rest) = log.split_once("meta l4proto 17 ").unwrap_or(("", &log));
                assert!(rest.starts_with(expected), "{option}: {log}");
            }
        }
    }
}

/// The line has the guest, the level and the name of the group, also if the chain's name is longer than the logger accepts.
#[test]
fn the_logger_takes_the_prefix_of_every_chain() {
    let group = "g23456789012345678";
    let cluster = format!(
        "[GROUP {group}]\nIN DROP -log err\nOUT DROP -log err\nFORWARD DROP -log err\n[RULES]\nGROUP {group}\n"
    );
    let guest = format!("ips: 1\nips_queues: 1000:1010\nlog_level_in: info\n[RULES]\nGROUP {group}\n");
    let vnet = format!("[OPTIONS]\nenable: 1\nlog_level_forward: info\n[RULES]\nGROUP {group}\n");
    let ruleset = compile(&with(trees::vm_tree(&cluster, &guest), &[("sdn/firewall/vnet012345.fw", vnet)]));
    for (table, expected) in [
        (
            TableName::Host,
            &[
                ("bridge-vnet012345", "0 6 bridge-vnet012345 policy ACCEPT: "),
                ("group-g23456789012345678-forward", "0 3 group-g23456789012345678-for DROP: "),
                ("group-g23456789012345678-in", "0 3 group-g23456789012345678-in DROP: "),
                ("group-g23456789012345678-out", "0 3 group-g23456789012345678-out DROP: "),
            ][..],
        ),
        (
            TableName::Guests,
            &[
                ("bridge-vnet012345", "0 6 bridge-vnet012345 policy ACCEPT: "),
                ("group-g23456789012345678-forward", "0 3 group-g23456789012345678-for DROP: "),
                ("group-g23456789012345678-in/queue-1000-1010", "0 3 group-g23456789012345678-in DROP: "),
                ("group-g23456789012345678-out", "0 3 group-g23456789012345678-out DROP: "),
                ("guest-100-in", "100 6 guest-100-in policy DROP: "),
            ],
        ),
    ] {
        let lines = logs(&ruleset, table).into_iter().map(|(chain, log, _)| (chain, logged(prefix(&log))));
        let expected = expected.iter().map(|(chain, line)| ((*chain).to_string(), (*line).to_string()));
        assert_eq!(lines.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{table}");
    }
}

/// As the recorded program, with the differences 12 (smurfs and TCP flags of guests) and 28 (policies) of `docs/nftables.md`.
#[test]
fn the_recorded_tree_is_logged_as_recorded() {
    let both = [
        "0 4 bridge-vmbr0 ACCEPT: ",
        "0 6 bridge-vmbr0 policy ACCEPT: ",
        "0 0 group-lg-in ACCEPT: ",
        "0 1 group-lg-in DROP: ",
        "0 2 group-lg-out REJECT: ",
        "0 5 log-invalid-tcp DROP: ",
        "0 2 log-smurfs DROP: ",
    ];
    let host = [
        "0 6 cluster-forward DROP: ",
        "0 3 cluster-forward policy ACCEPT: ",
        "0 3 cluster-in ACCEPT: ",
        "0 4 cluster-in REJECT: ",
        "0 7 cluster-in DROP: ",
        "0 6 cluster-in policy REJECT: ",
        "0 5 cluster-out REJECT: ",
        "0 4 cluster-out policy DROP: ",
        "0 6 host-in ACCEPT: ",
    ];
    let guests = [
        "100 3 guest-100-in ACCEPT: ",
        "100 6 guest-100-in REJECT: ",
        "100 6 guest-100-in policy REJECT: ",
        "100 6 guest-100-out REJECT: ",
        "100 7 guest-100-out policy REJECT: ",
    ];
    let ruleset = compile(&nft_trees::recorded("log-everywhere"));
    for (table, own) in [(TableName::Host, &host[..]), (TableName::Guests, &guests)] {
        let rules = logs(&ruleset, table);
        assert!(
            rules.iter().all(|(_, log, _)| log.contains("limit rate 10/minute burst 20 packets log ")),
            "{rules:#?}"
        );
        let mut lines: Vec<String> = rules.iter().map(|(_, log, _)| logged(prefix(log))).collect();
        let mut expected = [&both, own].concat();
        lines.sort();
        expected.sort_unstable();
        assert_eq!(lines, expected, "{table}");
    }
}
