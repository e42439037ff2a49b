//! Replacing a word by a suggestion of `check` gives a configuration with fewer errors.
use crate::lint::findings;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use pve_firewall::lint::Diagnostic;
use pve_firewall::model::Severity;

/// A file of each kind, without errors.
const FILES: [(&str, &str); 5] = [
    (
        "firewall/cluster.fw",
        "[OPTIONS]\nenable: 1\npolicy_in: DROP\nlog_ratelimit: burst=5,enable=1,rate=1/second\n[ALIASES]\nlan 10.0.0.0/8\n\
         office 192.0.2.0/24\n[IPSET webservers]\n10.0.0.1\nlan\n[IPSET management]\n192.168.7.0/24\n[group admins]\n\
         IN SSH(ACCEPT) -source dc/office -log info\n[RULES]\nGROUP admins -i vmbr0\nIN ACCEPT -p tcp -dport https,22,80:90\n\
         IN DROP -source +dc/webservers -dest lan\nIN REJECT -p icmp -icmp-type echo-request\nOUT Ping(ACCEPT) -log nolog\n",
    ),
    (
        "nodes/n1/host.fw",
        "[OPTIONS]\nenable: 1\nnf_conntrack_helpers: ftp,tftp\nlog_level_in: warning\n[RULES]\n\
         IN ACCEPT -p udp -sport ntp -dport 1024:65535 -source +webservers\nIN DROP -iface vmbr1 -proto vrrp\n",
    ),
    (
        "firewall/100.fw",
        "[OPTIONS]\nenable: 1\nlayer2_protocols: IPv4,ARP,IPv6\nmacfilter: 1\n[ALIASES]\nmyself 10.0.0.5\n[IPSET friends]\n\
         myself\ndc/lan\n[RULES]\nIN DNS(ACCEPT) -i net0 -source +guest/friends\nIN ACCEPT -source guest/myself -p tcp -dport ssh\n\
         IN HTTPS(ACCEPT) -dest +dc/webservers\nGROUP admins\nOUT DROP -p icmpv6 -icmp-type router-advertisement\n",
    ),
    ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\n"),
    ("sdn/firewall/vnet0.fw", "[OPTIONS]\nenable: 1\n[RULES]\nFORWARD ACCEPT -source dc/lan -p tcp -dport http\n"),
];

fn errors(files: &[(&str, &str)]) -> Vec<Diagnostic> {
    findings(files).into_iter().filter(|finding| finding.report.severity == Severity::Error).collect()
}

/// The line with the word replaced by each suggestion.
fn corrected_lines(finding: &Diagnostic) -> Vec<String> {
    let marks = finding.report.marks.iter().zip(&finding.help);
    let replacement = |help: &Option<String>| {
        let (_, quoted) = help.as_ref()?.split_once("did you mean '")?;
        quoted.strip_suffix("'?").map(str::to_string)
    };
    let line = &finding.line;
    let put = |span: pve_firewall::model::Span, word: String| [&line[..span.start], &word, &line[span.end..]].concat();
    marks.filter_map(|(mark, help)| Some(put(mark.span, replacement(help)?))).collect()
}

/// Applies each suggestion for a file separately; returns the number of suggestions.
fn apply_each_suggestion(path: &str, text: &str) -> usize {
    let with = |text: &str| -> usize {
        let files =
            FILES.map(|(own, known)| if own == path { (own, text.to_string()) } else { (own, known.to_string()) });
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        errors(&files).iter().map(|finding| finding.report.marks.len().max(1)).sum()
    };
    let files = FILES.map(|(own, known)| if own == path { (own, text) } else { (own, known) });
    let before = with(text);
    let mut followed = 0;
    for finding in errors(&files).iter().filter(|finding| finding.report.file.ends_with(path)) {
        let number = usize::try_from(finding.report.line.unwrap_or(0)).unwrap();
        for line in corrected_lines(finding) {
            let lines = text.split('\n').enumerate();
            let lines: Vec<&str> = lines.map(|(at, old)| if at + 1 == number { line.as_str() } else { old }).collect();
            let after = with(&lines.join("\n"));
            assert!(after < before, "{path}: '{}' -> '{line}': {before} -> {after} errors: {finding:?}", finding.line);
            followed += 1;
        }
    }
    followed
}

/// The index of a file, a part of it, and that part with a mistake.
const WORDS: &[(usize, &str, &str)] = &[
    (0, "policy_in: DROP", "polcy_in: DROP"),
    (0, "policy_in: DROP", "policy_in = DROP"),
    (0, "policy_in: DROP", "policy_in: DROP;"),
    (0, "policy_in: DROP", "policy_in: block"),
    (0, "enable: 1", "enable=1"),
    (0, "enable: 1", "enable: \"1\""),
    (0, "burst=5,enable=1,rate=1/second", "burst=5;rate=1/sec"),
    (0, "[IPSET webservers]", "[IPSETS webservers]"),
    (0, "[IPSET management]", "[ipset management] the office"),
    (0, "[group admins]", "[groups admins] # x"),
    (0, "[RULES]", "[RULE]"),
    (0, "[ALIASES]", "[ALIAS]"),
    (0, "lan 10.0.0.0/8", "lan = 10.0.0.0/8"),
    (0, "lan 10.0.0.0/8", "lan 10.0.0.0/255.0.0.0"),
    (0, "office 192.0.2.0/24", "office 192.0.2.*"),
    (0, "10.0.0.1\nlan", "10.0.0.1,\nlan"),
    (0, "192.168.7.0/24", "192.168.7.0/255.255.255.0"),
    (0, "GROUP admins", "GROUP +admins"),
    (0, "IN DROP", "INPUT DROP"),
    (0, "IN DROP", "IN BLOCK"),
    (0, "-p tcp -dport", "-p=tcp -dport"),
    (0, "-p tcp -dport", "-p TCP -dport"),
    (0, "-dport https,22,80:90", "--dport=https,22,80:90"),
    (0, "https,22,80:90", "https, 22,80:90"),
    (0, "https,22,80:90", "https;22,80:90"),
    (0, "https,22,80:90", "https/tcp,22,80:90"),
    (0, "https,22,80:90", "https,22,1024:"),
    (0, "https,22,80:90", "rdp,22"),
    (0, "echo-request", "ping"),
    (0, "Ping(ACCEPT)", "Ping (ACCEPT)"),
    (0, "Ping(ACCEPT)", "Ping( ACCEPT )"),
    (0, "Ping(ACCEPT)", "Ping ACCEPT"),
    (0, "Ping(ACCEPT)", "ACCEPT(Ping)"),
    (0, "-dest lan", "-dest 10.0.0.1-9"),
    (0, "-dest lan", "-dest 10.0.0.1 - 10.0.0.9"),
    (0, "-dest lan", "-dest 10.0.0.1, 10.0.0.2"),
    (0, "-dest lan", "-dest \"10.0.0.1\""),
    (0, "-dest lan", "-dest +lan"),
    (0, "-log info", "-log 6"),
    (0, "-log info", "-loglevel info"),
    (0, "GROUP admins", "GROUP admin"),
    (0, "GROUP admins", "GRUOP admins"),
    (0, "https,22,80:90", "htps,22,80:90"),
    (0, "https,22,80:90", "https,22,80-90"),
    (0, "https,22,80:90", "https,22,"),
    (0, "+dc/webservers", "+dc/webserver"),
    (0, "+dc/webservers", "webservers"),
    (0, "-dest lan", "-destination lan"),
    (0, "-dest lan", "-d lan"),
    (0, "-dest lan", "-dest lna"),
    (0, "echo-request", "echo-reqest"),
    (0, "Ping(ACCEPT)", "Pign(ACCEPT)"),
    (0, "Ping(ACCEPT)", "Ping(Accept)"),
    (0, "Ping(ACCEPT)", "Ping"),
    (0, "-log nolog", "-log none"),
    (0, "-log info", "-log warn"),
    (0, "\nlan\n[", "\nlna\n["),
    (0, "dc/office", "dc/offices"),
    (0, "dc/office", "guest/office"),
    (1, "ftp,tftp", "ftp,tfpt"),
    (1, "ftp,tftp", "ftp tftp"),
    (1, "log_level_in: warning", "log_level_in: warn"),
    (1, "-iface vmbr1", "-interface vmbr1"),
    (1, "ftp,tftp", "ftpp,tftp"),
    (1, "-sport ntp", "-sport npt"),
    (1, "-p udp", "-p upd"),
    (1, "-proto vrrp", "-proto vrpr"),
    (1, "nf_conntrack_helpers", "nf_conntrack_helper"),
    (2, "IPv4,ARP,IPv6", "IPv4,APR,IPv6"),
    (2, "IPv4,ARP,IPv6", "IPv4;ARP;IPv6"),
    (2, "macfilter: 1", "macfilter: enabled"),
    (2, "macfilter: 1", "macfilter 1"),
    (2, "-i net0", "-i eth0"),
    (2, "-i net0", "-i tap100i0"),
    (2, "-i net0", "-i vmbr0"),
    (2, "myself 10.0.0.5", "myself: 10.0.0.5"),
    (2, "+guest/friends", "+dc/friends"),
    (2, "+guest/friends", "+friend"),
    (2, "+dc/webservers", "+guest/webservers"),
    (2, "guest/myself", "mysefl"),
    (2, "dc/lan", "guest/lan"),
    (2, "router-advertisement", "router-advertisment"),
    (4, "FORWARD", "FOWARD"),
    (4, "enable: 1", "enable 1"),
    (4, "[RULES]", "[ RULES ]"),
    (4, "-dport http", "-dport htpt"),
];

#[test]
fn the_suggestion_for_a_word_of_each_kind_works() {
    assert_eq!(errors(&FILES), []);
    for (path, good, bad) in WORDS {
        let (path, text) = FILES[*path];
        assert!(text.contains(good), "{good}");
        let text = text.replacen(good, bad, 1);
        assert!(apply_each_suggestion(path, &text) > 0, "nothing is suggested for '{bad}'");
    }
}

/// Changes one letter in a word of a file. Only one, because an error in a second word of a line is found only when the first
/// is correct.
fn file_with_misspelling() -> impl Strategy<Value = (&'static str, String)> {
    (prop::sample::select(&[0, 1, 2, 4][..]), any::<prop::sample::Index>(), 0..4, prop::sample::select(LETTERS))
        .prop_map(|(file, at, how, letter)| {
            let (path, text) = FILES[file];
            let mut letters: Vec<char> = text.chars().collect();
            let in_words: Vec<usize> = (0..letters.len() - 1)
                .filter(|at| letters[*at..=*at + 1].iter().all(|letter| letter.is_alphanumeric()))
                .collect();
            let at = *at.get(&in_words);
            match how {
                0 => drop(letters.remove(at)),
                1 => letters.swap(at, at + 1),
                2 => letters.insert(at, letter),
                _ => letters[at] = letter,
            }
            (path, letters.into_iter().collect())
        })
}

const LETTERS: &[char] = &['a', 'e', 's', 'P', '-', '/', '+', ',', '1', '('];

proptest! {
    // the same cases in each run; PROPTEST_CASES sets how many
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn each_suggestion_for_a_misspelt_letter_works((path, text) in file_with_misspelling()) {
        apply_each_suggestion(path, &text);
    }
}
