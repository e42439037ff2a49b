//! Suggestions for unknown words.
mod addresses;
mod names;
mod options;
mod rules;
mod words;

pub use words::{nearest, nearest_name};

use crate::builtin::databases::Databases;
use crate::builtin::helpers::HELPERS;
use crate::config::Definitions;
use crate::model::Sought;
use addresses::Place;
use std::collections::{BTreeMap, BTreeSet};
use words::{corrected_list, did_you_mean};

const LEVELS: [&str; 9] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"];

/// Definitions that a file can use.
pub struct NameScope<'a> {
    /// The prefix of names in it: `dc/`.
    pub prefix: &'static str,
    /// The file that holds them.
    pub file: &'a str,
    /// Its aliases and IP sets.
    pub definitions: &'a Definitions,
}

/// The lines of aliases with an error, by file and name.
pub type InvalidAliases = BTreeMap<(String, String), u32>;

/// The names that a file can use.
pub struct Vocabulary<'a> {
    /// Protocols, services and ethertypes.
    pub databases: &'a Databases,
    /// The definitions that it can use, the nearest scope first.
    pub scopes: Vec<NameScope<'a>>,
    /// The definitions of the files of other guests, by file.
    pub others: Vec<(&'a str, &'a Definitions)>,
    /// The aliases with an error.
    pub invalid_aliases: &'a InvalidAliases,
    /// The names of the IP sets of SDN.
    pub sdn: &'a BTreeSet<String>,
    /// The security groups.
    pub groups: Vec<&'a str>,
    /// The network devices of the guest by key (`net0`), each with its bridge.
    pub devices: Vec<(String, Option<String>)>,
}

impl Vocabulary<'_> {
    /// The suggestion for an unknown word of a line, if there is one.
    pub fn help(&self, word: &str, sought: &Sought, line: &str) -> Option<String> {
        match sought {
            Sought::Section(kind) => options::section(word, *kind),
            Sought::Option(kind) => options::key(word, *kind),
            Sought::OptionLine(kind) => options::line(word, *kind),
            Sought::OptionValue(kind, key) => options::value(word, *kind, key),
            Sought::RuleType(here) => rules::rule_type(word, here),
            Sought::RuleOption => rules::option(word, line),
            Sought::GivenTwice => Some(rules::given_twice(word)),
            Sought::Joined => rules::joined(word),
            Sought::LogLevel => rules::level(word),
            Sought::Verdict => rules::verdict(word).filter(|found| found != word).map(did_you_mean),
            Sought::Macro => self.macro_name(word),
            Sought::Protocol => self.protocol(word, line),
            Sought::PortProtocol => Some(rules::port_protocol(line)),
            Sought::IcmpProtocol => Some("an ICMP type requires '-p icmp' or '-p icmpv6'".to_string()),
            Sought::Service(protocol) => self.service(word, protocol),
            Sought::IcmpType(family) => rules::icmp(word, *family),
            Sought::Set => self.set(word),
            Sought::Alias => self.alias(word),
            Sought::Address => addresses::address(word, Place::Rule),
            Sought::AliasLine => self.alias_line(word),
            Sought::AliasAddress => addresses::address(word, Place::Alias),
            Sought::Entry => self.entry(word),
            Sought::Device => self.device(word),
            Sought::Interface => names::interface(word),
            Sought::Group => self.group(word),
            Sought::Helper => corrected_list(word, || HELPERS.iter().map(|helper| helper.name)).map(did_you_mean),
            Sought::Ethertype => corrected_list(word, || self.databases.ethertypes()).map(did_you_mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IpSet;
    use crate::model::{Family, FileKind, Spelled};

    /// The suggestion for each word, in cluster.fw or the file of a guest with two devices.
    fn helps(cases: &[(&str, Sought, &str)]) -> Vec<Option<String>> {
        let databases = Databases::parse(
            "tcp 6\nudp 17\nicmp 1\ngre 47\nhopopt 0\n",
            "https 443/tcp\nntp 123/udp\ndomain 53/udp\n",
            "ARP 0806\nIPv4 0800\n",
        );
        let (mut cluster, mut other) = (Definitions::default(), Definitions::default());
        cluster.sets.insert("webservers".to_string(), IpSet::default());
        cluster.aliases.insert("lan7".to_string(), Spelled::new("10.0.0.0/8", "10.0.0.0/8".parse().unwrap()).unwrap());
        other.sets.insert("friends".to_string(), IpSet::default());
        let words = Vocabulary {
            databases: &databases,
            scopes: vec![NameScope { prefix: "dc/", file: "/pve/cluster.fw", definitions: &cluster }],
            others: vec![("/pve/100.fw", &other)],
            invalid_aliases: &InvalidAliases::from([(("/pve/cluster.fw".to_string(), "lan2".to_string()), 5)]),
            sdn: &BTreeSet::from(["vnet0-all".to_string()]),
            groups: vec!["admins"],
            devices: vec![("net0".to_string(), Some("vmbr0".to_string())), ("net1".to_string(), None)],
        };
        cases.iter().map(|(word, sought, _)| words.help(word, sought, "")).collect()
    }

    #[track_caller]
    fn assert_meant(cases: Vec<(&str, Sought, &str)>) {
        for ((word, _, meant), help) in cases.iter().zip(helps(&cases)) {
            let end = format!("did you mean '{meant}'?");
            assert!(help.as_deref().is_some_and(|help| help.ends_with(&end)), "{word}: {help:?}");
        }
    }

    #[track_caller]
    fn assert_explained(cases: Vec<(&str, Sought, &str)>) {
        for ((word, _, part), help) in cases.iter().zip(helps(&cases)) {
            assert!(help.as_deref().is_some_and(|help| help.contains(part)), "{word}: {help:?}");
            assert!(help.is_none_or(|help| !help.contains("did you mean")), "{word}");
        }
    }

    #[test]
    fn options_have_suggestions() {
        assert_meant(vec![
            ("enabel", Sought::Option(FileKind::Cluster), "enable"),
            ("enable = 1", Sought::OptionLine(FileKind::Cluster), "enable: 1"),
            ("policy-in: DROP # x", Sought::OptionLine(FileKind::Guest), "policy_in: DROP"),
            ("\"1\"", Sought::OptionValue(FileKind::Guest, "macfilter"), "1"),
            ("disabled", Sought::OptionValue(FileKind::Guest, "macfilter"), "0"),
            ("DROP;", Sought::OptionValue(FileKind::Guest, "policy_in"), "DROP"),
            ("allow", Sought::OptionValue(FileKind::Guest, "policy_in"), "ACCEPT"),
            ("warn", Sought::OptionValue(FileKind::Host, "log_level_in"), "warning"),
            ("4", Sought::OptionValue(FileKind::Host, "log_level_in"), "warning"),
            ("200/second", Sought::OptionValue(FileKind::Host, "protection_synflood_rate"), "200"),
            ("0-3", Sought::OptionValue(FileKind::Guest, "ips_queues"), "0:3"),
            (
                "rate=5/min;burst=3",
                Sought::OptionValue(FileKind::Cluster, "log_ratelimit"),
                "enable=1,rate=5/minute,burst=3",
            ),
            ("[IPSETS blocked]", Sought::Section(FileKind::Guest), "[IPSET blocked]"),
            ("[GROUP web server] # x", Sought::Section(FileKind::Cluster), "[GROUP web-server]"),
            ("[ rule", Sought::Section(FileKind::Host), "[RULES]"),
            ("ftp,tfpt", Sought::Helper, "ftp,tftp"),
            ("ftp;sip", Sought::Helper, "ftp,sip"),
            ("arp,ipv5", Sought::Ethertype, "arp,IPv4"),
        ]);
    }

    #[test]
    fn options_without_a_suggestion_are_explained() {
        assert_explained(vec![
            ("ipfilter", Sought::Option(FileKind::Host), "this option belongs in a guest's file"),
            ("IN ACCEPT -p tcp", Sought::OptionLine(FileKind::Host), "rules belong below [RULES]"),
            ("2", Sought::OptionValue(FileKind::Guest, "enable"), "write 0 or 1"),
            ("[GROUP web]", Sought::Section(FileKind::Guest), "groups are defined in cluster.fw"),
        ]);
    }

    #[test]
    fn words_of_rules_have_suggestions() {
        let service = || Sought::Service("tcp".into());
        assert_meant(vec![
            ("-sorce", Sought::RuleOption, "-source"),
            ("-d", Sought::RuleOption, "-dest"),
            ("--dports", Sought::RuleOption, "-dport"),
            ("--dport=22", Sought::RuleOption, "-dport 22"),
            ("-loglevel", Sought::RuleOption, "-log"),
            ("22, 80", Sought::Joined, "22,80"),
            ("10.0.0.1 - 10.0.0.9", Sought::Joined, "10.0.0.1-10.0.0.9"),
            ("10.0.0.1 -10.0.0.9", Sought::Joined, "10.0.0.1-10.0.0.9"),
            ("SSH (accept)", Sought::Joined, "SSH(ACCEPT)"),
            ("SSH(ACCEPT )", Sought::Joined, "SSH(ACCEPT)"),
            ("ssh ACCEPT", Sought::Joined, "ssh(ACCEPT)"),
            ("INFO", Sought::LogLevel, "info"),
            ("error", Sought::LogLevel, "err"),
            ("Accept", Sought::Verdict, "ACCEPT"),
            ("block", Sought::Verdict, "DROP"),
            ("SSH", Sought::Verdict, "SSH(ACCEPT)"),
            ("SSH(ACCPET)", Sought::Verdict, "SSH(ACCEPT)"),
            ("DROP(ssh)", Sought::Verdict, "SSH(DROP)"),
            ("HTPS", Sought::Macro, "HTTPS"),
            ("TCP", Sought::Protocol, "tcp"),
            ("icmpv4", Sought::Protocol, "icmp"),
            ("80,htps", service(), "80,https"),
            ("80-90", service(), "80:90"),
            ("22,80-90", service(), "22,80:90"),
            ("80;81", service(), "80,81"),
            ("1024:", service(), "1024:65535"),
            ("80/tcp", service(), "80"),
            ("rdp", service(), "3389"),
            ("dns", Sought::Service("udp".into()), "53"),
            ("ping", Sought::IcmpType(Family::V4), "echo-request"),
            ("8/0", Sought::IcmpType(Family::V6), "8"),
            ("echo-requst", Sought::IcmpType(Family::V4), "echo-request"),
            ("INN", Sought::RuleType(&["IN", "OUT", "GROUP"]), "IN"),
            ("INPUT", Sought::RuleType(&["IN", "OUT", "GROUP"]), "IN"),
        ]);
    }

    #[test]
    fn words_of_rules_without_a_suggestion_are_explained() {
        let service = || Sought::Service("tcp".into());
        assert_explained(vec![
            ("[group", Sought::RuleType(&["IN", "OUT", "GROUP"]), "a group is defined in cluster.fw"),
            (";IN", Sought::RuleType(&["IN", "OUT", "GROUP"]), "a comment begins with '#'"),
            ("FORWARD", Sought::RuleType(&["IN", "OUT", "GROUP"]), "FORWARD rules belong in"),
            ("ACCEPT", Sought::RuleType(&["IN", "OUT", "GROUP"]), "write the direction before the action"),
            ("-o", Sought::RuleOption, "a rule has one interface"),
            ("-j", Sought::RuleOption, "write the action after IN or OUT"),
            ("-comment", Sought::RuleOption, "a comment begins with '#'"),
            ("-iface", Sought::RuleOption, "its value is missing"),
            ("-dport", Sought::GivenTwice, "several ports are a list"),
            ("tcp trailing", Sought::Joined, "a comment begins with '#'"),
            ("tcp,udp", Sought::Protocol, "one protocol for each rule"),
            ("any", Sought::Protocol, "leave it out"),
            ("ntp", service(), "'ntp' is a service of udp"),
            ("70000", service(), "ports are numbers from 0 to 65535"),
            ("-p tcp", Sought::Joined, "write the action after the direction"),
            ("22", Sought::Service("gre".into()), "'gre' has no ports"),
            ("any", service(), "leave it out"),
            ("neighbor-solicitation", Sought::IcmpType(Family::V4), "it is a type of '-p icmpv6'"),
        ]);
    }

    #[test]
    fn names_have_suggestions() {
        assert_meant(vec![
            ("+webserver", Sought::Set, "+webservers"),
            ("+guest/webservers", Sought::Set, "+webservers"),
            ("+vnet0-all", Sought::Set, "+sdn/vnet0-all"),
            ("+sdn/vnet0-al", Sought::Set, "+sdn/vnet0-all"),
            ("+sdn/vnet0", Sought::Set, "+sdn/vnet0-all"),
            ("sdn/vnet0-all", Sought::Alias, "+sdn/vnet0-all"),
            ("webservers", Sought::Alias, "+webservers"),
            ("admin", Sought::Group, "admins"),
            ("+admins", Sought::Group, "admins"),
            ("tap100i1", Sought::Device, "net1"),
            ("eth0", Sought::Device, "net0"),
            ("vmbr0", Sought::Device, "net0"),
            ("10.0.0.1-9", Sought::Address, "10.0.0.1-10.0.0.9"),
            ("10.0.0.*", Sought::Address, "10.0.0.0/24"),
            ("10.0.0.1;10.0.0.2,", Sought::Address, "10.0.0.1,10.0.0.2"),
            ("[fd00::1]", Sought::Address, "fd00::1"),
            ("10.0.0.0/255.255.255.0", Sought::Entry, "10.0.0.0/24"),
            ("lan=10.0.0.1", Sought::AliasLine, "lan 10.0.0.1"),
            ("10.0.0.1 lan", Sought::AliasLine, "lan 10.0.0.1"),
        ]);
    }

    #[test]
    fn names_without_a_suggestion_are_explained() {
        assert_explained(vec![
            ("10.0.0.0/33", Sought::Address, "the length of a prefix is 0 to 32"),
            ("+a,+b", Sought::Set, "one IP set for each rule"),
            ("+friends", Sought::Set, "it is defined in 100.fw, for that guest alone"),
            ("+sdn/vnet7-all", Sought::Set, "no vnet or guest of the SDN has this set"),
            ("lan8", Sought::Alias, "define it in [ALIASES]"),
            ("lan2", Sought::Alias, "its definition in line 5 of cluster.fw has an error"),
            ("dc/lan2", Sought::Entry, "its definition in line 5 of cluster.fw has an error"),
            ("any", Sought::Alias, "leave it out"),
            ("somehost", Sought::Alias, "host names are not looked up"),
            ("www.example.com", Sought::Address, "host names are not looked up"),
            ("!10.0.0.1", Sought::Address, "a rule cannot exclude addresses"),
            ("10.0.0.1:80", Sought::Address, "write the port with -dport or -sport"),
            ("10.0.0.1,+web", Sought::Address, "put them into an IP set"),
            ("10.0.0.0/8,fd00::/8", Sought::Address, "write a rule for each family"),
            ("BC:24:11:00:0A:01", Sought::Address, "a MAC address is not allowed here"),
            ("+webservers", Sought::Entry, "an IP set cannot contain another one: write its addresses"),
            ("webservers", Sought::Entry, "an IP set cannot contain another one: write its addresses"),
            ("10.0.0.1-10.0.0.3", Sought::Entry, "write its networks 10.0.0.1/32, 10.0.0.2/31"),
            ("10.0.0.1,10.0.0.2", Sought::Entry, "one address for each line"),
            ("10.0.0.1 a host", Sought::Entry, "a comment begins with '#'"),
            ("0.0.0.0/0", Sought::Entry, "write its halves: 0.0.0.0/1 and 128.0.0.0/1"),
            ("lan 10.0.0.1 10.0.0.2", Sought::AliasLine, "use an IP set for several"),
            ("x 10.0.0.1", Sought::AliasLine, "a name is a letter"),
            ("vmbr0,vmbr1", Sought::Interface, "one interface for each rule"),
            ("vmbr+", Sought::Interface, "no wildcards"),
        ]);
    }

    #[test]
    fn nothing_is_suggested_for_words_that_are_like_no_other() {
        let cases = [
            ("xyzzy", Sought::Macro, ""),
            ("+we", Sought::Set, ""),
            ("-x", Sought::RuleOption, ""),
            (&"x".repeat(70_000), Sought::Macro, ""),
        ];
        assert_eq!(helps(&cases), [const { None }; 4]);
    }
}
