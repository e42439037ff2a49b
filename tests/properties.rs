//! What must hold for any bytes in any file.
#![allow(clippy::disallowed_methods, reason = "tests read files")]
use proptest::collection::vec;
use proptest::prelude::*;
use pve_firewall::compile::compile;
use pve_firewall::inputs::{Facts, File, Tree};
use pve_firewall::ruleset::{Family, MacStyle, Ruleset, Token};
use std::fs;

const PATHS: [&str; 12] = [
    ".vmlist",
    ".members",
    "corosync.conf",
    "firewall/cluster.fw",
    "firewall/100.fw",
    "firewall/200.fw",
    "sdn/firewall/vnet1.fw",
    "nodes/n1/host.fw",
    "nodes/n1/qemu-server/100.conf",
    "nodes/n1/lxc/200.conf",
    "nodes/n1/lxc/300.conf",
    "firewall/300.fw",
];

/// Words that lines are made of: valid ones, near misses, and what might break out of a script.
const WORDS: &[&str] = &[
    "[OPTIONS]",
    "[RULES]",
    "[ALIASES]",
    "[IPSET web]",
    "[IPSET ipfilter-net0]",
    "[IPSET blacklist]",
    "[GROUP gg]",
    "[group x]",
    "enable: 1",
    "ipfilter: 1",
    "ips: 1",
    "ips_queues: 1:3",
    "policy_in: REJECT",
    "policy_out: DROP",
    "log_level_in: info",
    "protection_synflood: 1",
    "nf_conntrack_helpers: ftp,sip",
    "layer2_protocols: ARP,IPv6",
    "log_ratelimit: 1,rate=5/minute",
    "IN",
    "OUT",
    "FORWARD",
    "GROUP",
    "|IN",
    "ACCEPT",
    "DROP",
    "REJECT",
    "DENY",
    "SSH(ACCEPT)",
    "Ping(DROP)",
    "SMB(REJECT)",
    "gg",
    "-i net0",
    "-i vmbr0",
    "-p tcp",
    "-p udp",
    "-p icmp",
    "-p icmpv6",
    "-p 47",
    "-dport 80",
    "-dport 1:65535",
    "-dport 80,443",
    "-sport 53,123",
    "-dport ssh",
    "-icmp-type echo-request",
    "-dport 8",
    "-source 10.0.0.0/8",
    "-source +web",
    "-dest al",
    "-dest 10.0.0.1-10.0.0.9",
    "-source fd00::/8,fd01::1",
    "-source +management",
    "-log info",
    "-log nolog",
    "# comment",
    "al 10.0.0.0/24",
    "al6 fd00::1",
    "10.0.0.1",
    "!10.0.0.0/25",
    "fd00::/64",
    "al",
    "dc/al",
    "10.0.0.9/24",
    "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1",
    "net0: name=eth0,hwaddr=02:00:00:00:00:01,firewall=1,ip=10.0.0.7/24",
    "nodelist {",
    "node {",
    "name: n1",
    "ring0_addr: 10.0.0.1",
    "}",
    "totem { transport: udp }",
    "\"",
    "'",
    ";",
    "$(reboot)",
    "`id`",
    "\\",
    "\\n",
    "\"; -A INPUT -j ACCEPT",
    "--",
    "-j",
    "*filter",
    "COMMIT",
    "\u{0}",
    "\u{85}",
];

fn content() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        12 => prop::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..12),
    ];
    let line = vec(word, 1..6).prop_map(|words| words.join(&b' '));
    prop_oneof![
        8 => vec(line, 0..24).prop_map(|lines| [b"[OPTIONS]\nenable: 1\n[RULES]\n".to_vec(), lines.join(&b'\n')].concat()),
        1 => vec(any::<u8>(), 0..200),
    ]
}

prop_compose! {
    fn tree()(contents in vec(prop::option::weighted(0.8, content()), PATHS.len())) -> Tree {
        let mut tree = Tree { root: "/etc/pve".to_string(), ..Tree::default() };
        for (path, content) in PATHS.iter().zip(contents) {
            if let Some(content) = content {
                tree.files.insert((*path).to_string(), File::Content(content.into()));
            }
        }
        tree
    }
}

fn facts() -> Facts {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    Facts {
        node: "n1".to_string(),
        services: read("/etc/services"),
        protocols: read("/etc/protocols"),
        ethertypes: read("/etc/ethertypes"),
        ..Facts::default()
    }
}

/// Every line that would reach a tool.
fn lines(ruleset: &Ruleset) -> Vec<String> {
    let mut lines = Vec::new();
    for family in Family::ALL {
        for (name, chain) in ruleset.filter[family].iter().chain(&ruleset.raw[family]) {
            lines.extend(chain.lines(name));
        }
    }
    for (name, chain) in &ruleset.bridge {
        lines.extend(chain.lines(name, MacStyle::Padded));
    }
    for (name, set) in &ruleset.sets {
        lines.extend(set.lines(name));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn compiling_is_a_function_that_never_panics(tree in tree()) {
        prop_assert_eq!(compile(&tree, &facts()).ruleset, compile(&tree, &facts()).ruleset);
    }

    #[test]
    fn nothing_in_a_file_becomes_more_than_a_word_of_a_script(tree in tree()) {
        for line in lines(&compile(&tree, &facts()).ruleset) {
            prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
            let outside: String = match line.split_once(" --nflog-prefix \":") {
                Some((before, prefix)) => {
                    let prefix = prefix.strip_suffix('"').unwrap();
                    prop_assert!(prefix.len() < 63 && !prefix.contains(['"', '\\', '$', '`', ';']), "{line}");
                    before.to_string()
                }
                None => line.clone(),
            };
            prop_assert!(!outside.contains(['"', '\'', '\\', '$', '`', ';', '#']), "{line}");
        }
    }

    #[test]
    fn reports_are_single_lines_of_printable_text(tree in tree()) {
        for report in compile(&tree, &facts()).reports {
            for line in report.to_string().lines() {
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert!(line.len() < 2000, "{line}");
            }
        }
    }

    #[test]
    fn tokens_are_what_they_say(text in any::<String>()) {
        if let Some(token) = Token::new(&text) {
            prop_assert!(token.as_str() == text && !text.contains([' ', '"', '\\', '\n']));
        }
    }
}
