//! Suggestions for unknown words.
mod addresses;
mod names;
mod options;
mod rules;
mod words;

pub use words::{nearest, nearest_name};

use crate::builtin::helpers::HELPERS;
use crate::config::Definitions;
use crate::model::Lookup;
use crate::node::name_databases::Databases;
use addresses::Place;
use std::collections::{BTreeMap, BTreeSet};
use words::{corrected_list, did_you_mean};

const LEVELS: [&str; 9] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"];

/// Definitions that a file can use.
pub struct NameScope<'a> {
    /// The prefix of names in it: `dc/`.
    pub prefix: &'static str,
    /// The file that contains them.
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
    pub fn help(&self, word: &str, lookup: &Lookup, line: &str) -> Option<String> {
        match lookup {
            Lookup::Section(kind) => options::section(word, *kind),
            Lookup::Option(kind) => options::key(word, *kind),
            Lookup::OptionLine(kind) => options::line(word, *kind),
            Lookup::OptionValue(kind, key) => options::value(word, *kind, key),
            Lookup::RuleType(here) => rules::rule_type(word, here),
            Lookup::RuleOption => rules::option(word, line),
            Lookup::GivenTwice => Some(rules::given_twice(word)),
            Lookup::Joined => rules::joined(word),
            Lookup::LogLevel => rules::level(word),
            Lookup::Verdict => rules::verdict(word).filter(|found| found != word).map(did_you_mean),
            Lookup::Macro => self.macro_name(word),
            Lookup::Protocol => self.protocol(word, line),
            Lookup::PortProtocol => Some(rules::port_protocol(line)),
            Lookup::IcmpProtocol => Some("an ICMP type requires '-p icmp' or '-p icmpv6'".to_string()),
            Lookup::Service(protocol) => self.service(word, protocol),
            Lookup::IcmpType(family) => rules::icmp(word, *family),
            Lookup::Set => self.set(word),
            Lookup::Alias => self.alias(word),
            Lookup::Address => addresses::address(word, Place::Rule),
            Lookup::AliasLine => self.alias_line(word),
            Lookup::AliasAddress => addresses::address(word, Place::Alias),
            Lookup::Entry => self.entry(word),
            Lookup::Device => self.device(word),
            Lookup::Interface => names::interface(word),
            Lookup::Group => self.group(word),
            Lookup::Helper => corrected_list(word, || HELPERS.iter().map(|helper| helper.name)).map(did_you_mean),
            Lookup::Ethertype => corrected_list(word, || self.databases.ethertypes()).map(did_you_mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IpSet;
    use crate::model::{Family, FileKind, Spelled};

    /// The suggestion for each word, in cluster.fw or the file of a guest with two devices.
    fn helps(cases: &[(&str, Lookup, &str)]) -> Vec<Option<String>> {
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
        cases.iter().map(|(word, lookup, _)| words.help(word, lookup, "")).collect()
    }

    #[track_caller]
    fn assert_meant(cases: Vec<(&str, Lookup, &str)>) {
        for ((word, _, meant), help) in cases.iter().zip(helps(&cases)) {
            let end = format!("did you mean '{meant}'?");
            assert!(help.as_deref().is_some_and(|help| help.ends_with(&end)), "{word}: {help:?}");
        }
    }

    #[track_caller]
    fn assert_explained(cases: Vec<(&str, Lookup, &str)>) {
        for ((word, _, part), help) in cases.iter().zip(helps(&cases)) {
            assert!(help.as_deref().is_some_and(|help| help.contains(part)), "{word}: {help:?}");
            assert!(help.is_none_or(|help| !help.contains("did you mean")), "{word}");
        }
    }

    #[test]
    fn options_have_suggestions() {
        assert_meant(vec![
            ("enabel", Lookup::Option(FileKind::Cluster), "enable"),
            ("enable = 1", Lookup::OptionLine(FileKind::Cluster), "enable: 1"),
            ("policy-in: DROP # x", Lookup::OptionLine(FileKind::Guest), "policy_in: DROP"),
            ("\"1\"", Lookup::OptionValue(FileKind::Guest, "macfilter"), "1"),
            ("disabled", Lookup::OptionValue(FileKind::Guest, "macfilter"), "0"),
            ("DROP;", Lookup::OptionValue(FileKind::Guest, "policy_in"), "DROP"),
            ("allow", Lookup::OptionValue(FileKind::Guest, "policy_in"), "ACCEPT"),
            ("warn", Lookup::OptionValue(FileKind::Host, "log_level_in"), "warning"),
            ("4", Lookup::OptionValue(FileKind::Host, "log_level_in"), "warning"),
            ("200/second", Lookup::OptionValue(FileKind::Host, "protection_synflood_rate"), "200"),
            ("0-3", Lookup::OptionValue(FileKind::Guest, "ips_queues"), "0:3"),
            (
                "rate=5/min;burst=3",
                Lookup::OptionValue(FileKind::Cluster, "log_ratelimit"),
                "enable=1,rate=5/minute,burst=3",
            ),
            ("[IPSETS blocked]", Lookup::Section(FileKind::Guest), "[IPSET blocked]"),
            ("[GROUP web server] # x", Lookup::Section(FileKind::Cluster), "[GROUP web-server]"),
            ("[ rule", Lookup::Section(FileKind::Host), "[RULES]"),
            ("ftp,tfpt", Lookup::Helper, "ftp,tftp"),
            ("ftp;sip", Lookup::Helper, "ftp,sip"),
            ("arp,ipv5", Lookup::Ethertype, "arp,IPv4"),
        ]);
    }

    #[test]
    fn options_without_a_suggestion_are_explained() {
        assert_explained(vec![
            ("ipfilter", Lookup::Option(FileKind::Host), "this option belongs in a guest's file"),
            ("IN ACCEPT -p tcp", Lookup::OptionLine(FileKind::Host), "rules belong below [RULES]"),
            ("2", Lookup::OptionValue(FileKind::Guest, "enable"), "write 0 or 1"),
            ("[GROUP web]", Lookup::Section(FileKind::Guest), "groups are defined in cluster.fw"),
        ]);
    }

    #[test]
    fn words_of_rules_have_suggestions() {
        let service = || Lookup::Service("tcp".into());
        assert_meant(vec![
            ("-sorce", Lookup::RuleOption, "-source"),
            ("-d", Lookup::RuleOption, "-dest"),
            ("--dports", Lookup::RuleOption, "-dport"),
            ("--dport=22", Lookup::RuleOption, "-dport 22"),
            ("-loglevel", Lookup::RuleOption, "-log"),
            ("22, 80", Lookup::Joined, "22,80"),
            ("10.0.0.1 - 10.0.0.9", Lookup::Joined, "10.0.0.1-10.0.0.9"),
            ("10.0.0.1 -10.0.0.9", Lookup::Joined, "10.0.0.1-10.0.0.9"),
            ("SSH (accept)", Lookup::Joined, "SSH(ACCEPT)"),
            ("SSH(ACCEPT )", Lookup::Joined, "SSH(ACCEPT)"),
            ("ssh ACCEPT", Lookup::Joined, "ssh(ACCEPT)"),
            ("INFO", Lookup::LogLevel, "info"),
            ("error", Lookup::LogLevel, "err"),
            ("Accept", Lookup::Verdict, "ACCEPT"),
            ("block", Lookup::Verdict, "DROP"),
            ("SSH", Lookup::Verdict, "SSH(ACCEPT)"),
            ("SSH(ACCPET)", Lookup::Verdict, "SSH(ACCEPT)"),
            ("DROP(ssh)", Lookup::Verdict, "SSH(DROP)"),
            ("HTPS", Lookup::Macro, "HTTPS"),
            ("TCP", Lookup::Protocol, "tcp"),
            ("icmpv4", Lookup::Protocol, "icmp"),
            ("80,htps", service(), "80,https"),
            ("80-90", service(), "80:90"),
            ("22,80-90", service(), "22,80:90"),
            ("80;81", service(), "80,81"),
            ("1024:", service(), "1024:65535"),
            ("80/tcp", service(), "80"),
            ("rdp", service(), "3389"),
            ("dns", Lookup::Service("udp".into()), "53"),
            ("ping", Lookup::IcmpType(Family::V4), "echo-request"),
            ("8/0", Lookup::IcmpType(Family::V6), "8"),
            ("echo-requst", Lookup::IcmpType(Family::V4), "echo-request"),
            ("INN", Lookup::RuleType(&["IN", "OUT", "GROUP"]), "IN"),
            ("INPUT", Lookup::RuleType(&["IN", "OUT", "GROUP"]), "IN"),
        ]);
    }

    #[test]
    fn words_of_rules_without_a_suggestion_are_explained() {
        let service = || Lookup::Service("tcp".into());
        assert_explained(vec![
            ("[group", Lookup::RuleType(&["IN", "OUT", "GROUP"]), "a group is defined in cluster.fw"),
            (";IN", Lookup::RuleType(&["IN", "OUT", "GROUP"]), "a comment begins with '#'"),
            ("FORWARD", Lookup::RuleType(&["IN", "OUT", "GROUP"]), "FORWARD rules belong in"),
            ("ACCEPT", Lookup::RuleType(&["IN", "OUT", "GROUP"]), "write the direction before the action"),
            ("-o", Lookup::RuleOption, "a rule has one interface"),
            ("-j", Lookup::RuleOption, "write the action after IN or OUT"),
            ("-comment", Lookup::RuleOption, "a comment begins with '#'"),
            ("-iface", Lookup::RuleOption, "its value is missing"),
            ("-dport", Lookup::GivenTwice, "several ports are a list"),
            ("tcp trailing", Lookup::Joined, "a comment begins with '#'"),
            ("tcp,udp", Lookup::Protocol, "one protocol for each rule"),
            ("any", Lookup::Protocol, "leave it out"),
            ("ntp", service(), "'ntp' is a service of udp"),
            ("70000", service(), "ports are numbers from 0 to 65535"),
            ("-p tcp", Lookup::Joined, "write the action after the direction"),
            ("22", Lookup::Service("gre".into()), "'gre' has no ports"),
            ("any", service(), "leave it out"),
            ("neighbor-solicitation", Lookup::IcmpType(Family::V4), "it is a type of '-p icmpv6'"),
        ]);
    }

    #[test]
    fn names_have_suggestions() {
        assert_meant(vec![
            ("+webserver", Lookup::Set, "+webservers"),
            ("+guest/webservers", Lookup::Set, "+webservers"),
            ("+vnet0-all", Lookup::Set, "+sdn/vnet0-all"),
            ("+sdn/vnet0-al", Lookup::Set, "+sdn/vnet0-all"),
            ("+sdn/vnet0", Lookup::Set, "+sdn/vnet0-all"),
            ("sdn/vnet0-all", Lookup::Alias, "+sdn/vnet0-all"),
            ("webservers", Lookup::Alias, "+webservers"),
            ("admin", Lookup::Group, "admins"),
            ("+admins", Lookup::Group, "admins"),
            ("tap100i1", Lookup::Device, "net1"),
            ("eth0", Lookup::Device, "net0"),
            ("vmbr0", Lookup::Device, "net0"),
            ("10.0.0.1-9", Lookup::Address, "10.0.0.1-10.0.0.9"),
            ("10.0.0.*", Lookup::Address, "10.0.0.0/24"),
            ("10.0.0.1;10.0.0.2,", Lookup::Address, "10.0.0.1,10.0.0.2"),
            ("[fd00::1]", Lookup::Address, "fd00::1"),
            ("10.0.0.0/255.255.255.0", Lookup::Entry, "10.0.0.0/24"),
            ("lan=10.0.0.1", Lookup::AliasLine, "lan 10.0.0.1"),
            ("10.0.0.1 lan", Lookup::AliasLine, "lan 10.0.0.1"),
        ]);
    }

    #[test]
    fn names_without_a_suggestion_are_explained() {
        assert_explained(vec![
            ("10.0.0.0/33", Lookup::Address, "the length of a prefix is 0 to 32"),
            ("+a,+b", Lookup::Set, "one IP set for each rule"),
            ("+friends", Lookup::Set, "it is defined in 100.fw, for that guest alone"),
            ("+sdn/vnet7-all", Lookup::Set, "no vnet or guest of the SDN has this set"),
            ("lan8", Lookup::Alias, "define it in [ALIASES]"),
            ("lan2", Lookup::Alias, "its definition in line 5 of cluster.fw has an error"),
            ("dc/lan2", Lookup::Entry, "its definition in line 5 of cluster.fw has an error"),
            ("any", Lookup::Alias, "leave it out"),
            ("somehost", Lookup::Alias, "host names are not looked up"),
            ("www.example.com", Lookup::Address, "host names are not looked up"),
            ("!10.0.0.1", Lookup::Address, "a rule cannot exclude addresses"),
            ("10.0.0.1:80", Lookup::Address, "write the port with -dport or -sport"),
            ("10.0.0.1,+web", Lookup::Address, "put them into an IP set"),
            ("10.0.0.0/8,fd00::/8", Lookup::Address, "write a rule for each family"),
            ("BC:24:11:00:0A:01", Lookup::Address, "a MAC address is not allowed here"),
            ("+webservers", Lookup::Entry, "an IP set cannot contain another one: write its addresses"),
            ("webservers", Lookup::Entry, "an IP set cannot contain another one: write its addresses"),
            ("10.0.0.1-10.0.0.3", Lookup::Entry, "write its networks 10.0.0.1/32, 10.0.0.2/31"),
            ("10.0.0.1,10.0.0.2", Lookup::Entry, "one address for each line"),
            ("10.0.0.1 a host", Lookup::Entry, "a comment begins with '#'"),
            ("0.0.0.0/0", Lookup::Entry, "write its halves: 0.0.0.0/1 and 128.0.0.0/1"),
            ("lan 10.0.0.1 10.0.0.2", Lookup::AliasLine, "use an IP set for several"),
            ("x 10.0.0.1", Lookup::AliasLine, "a name is a letter"),
            ("vmbr0,vmbr1", Lookup::Interface, "one interface for each rule"),
            ("vmbr+", Lookup::Interface, "no wildcards"),
        ]);
    }

    #[test]
    fn dissimilar_words_get_no_suggestion() {
        let cases = [
            ("xyzzy", Lookup::Macro, ""),
            ("+we", Lookup::Set, ""),
            ("-x", Lookup::RuleOption, ""),
            (&"x".repeat(70_000), Lookup::Macro, ""),
        ];
        assert_eq!(helps(&cases), [const { None }; 4]);
    }
}
