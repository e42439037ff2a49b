//! Suggestions for misspelt words.
use crate::builtin::databases::Databases;
use crate::builtin::helpers::HELPERS;
use crate::builtin::icmp;
use crate::builtin::macros::{self, MACROS};
use crate::config::{Definitions, known_options};
use crate::model::{Family, Sought};
use std::collections::BTreeMap;

/// The names that a file can use.
pub struct Vocabulary<'a> {
    /// Protocols, services and ethertypes.
    pub databases: &'a Databases,
    /// Aliases and sets by scope prefix, the nearest scope first.
    pub scopes: Vec<(&'static str, &'a Definitions)>,
    /// The security groups.
    pub groups: Vec<&'a str>,
}

const RULE_TYPES: [&str; 4] = ["IN", "OUT", "FORWARD", "GROUP"];
const VERDICTS: [&str; 3] = ["ACCEPT", "DROP", "REJECT"];
const RULE_OPTIONS: [&str; 10] =
    ["-i", "-iface", "-p", "-proto", "-source", "-dest", "-sport", "-dport", "-icmp-type", "-log"];
const LEVELS: [&str; 9] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"];

impl Vocabulary<'_> {
    /// The suggestion for an unknown word of a line, if a similar word is known.
    pub fn help(&self, word: &str, sought: &Sought, line: &str) -> Option<String> {
        let found = match sought {
            Sought::Option(kind) => nearest(word, known_options(*kind).into_iter().map(|(key, _)| key)),
            Sought::RuleType => nearest(word, RULE_TYPES),
            Sought::RuleOption => {
                let free = |option: &&str| !is_given(option, line);
                let usual = usual_option(word).filter(|option| free(&option.as_str()));
                let plain = format!("-{}", word.trim_start_matches('-'));
                usual.or_else(|| nearest(&plain, RULE_OPTIONS.into_iter().filter(free)))
            }
            Sought::LogLevel => usual_level(word).or_else(|| nearest(word, LEVELS)),
            Sought::Verdict => verdict(word),
            Sought::Macro => nearest(word, MACROS.iter().map(|one| one.name)),
            Sought::Protocol => nearest(word, self.databases.protocols().filter(|name| self.fits(name, line))),
            Sought::Service(protocol) => return self.service(word, protocol),
            Sought::IcmpType(family) => nearest(word, icmp_types(*family)),
            Sought::Set if word.contains(',') => {
                return Some("one IP set for each rule: write a rule for each of them".to_string());
            }
            Sought::Set => self.named(word.trim_start_matches('+'), "+", |definitions| &definitions.sets),
            Sought::Entry => {
                let name = word.trim_start_matches('+');
                if self.scopes.iter().any(|(_, known)| known.sets.contains_key(&name.to_ascii_lowercase())) {
                    return Some("an IP set cannot contain another one: write its addresses".to_string());
                }
                self.named(word, "", |definitions| &definitions.aliases)
            }
            Sought::Alias => self
                .named(word, "", |definitions| &definitions.aliases)
                .or_else(|| self.named(word, "+", |definitions| &definitions.sets)),
            Sought::Group => nearest(word, self.groups.iter().copied()),
            Sought::Helper => first_unknown(word, || HELPERS.iter().map(|helper| helper.name)),
            Sought::Ethertype => first_unknown(word, || self.databases.ethertypes()),
        };
        found.filter(|found| found != word).map(|found| format!("did you mean '{found}'?"))
    }

    /// Whether a rule can have a protocol: with a port, only those that have ports. The number 0 is none.
    fn fits(&self, protocol: &str, line: &str) -> bool {
        const WITH_PORTS: [&str; 5] = ["tcp", "udp", "dccp", "sctp", "udplite"];
        let ports = is_given("-dport", line) || is_given("-sport", line);
        let number = self.databases.protocol(protocol);
        number.is_some_and(|number| number > 0) && (!ports || WITH_PORTS.contains(&protocol))
    }

    /// A service in the list that does not exist for the protocol.
    fn service(&self, ports: &str, protocol: &str) -> Option<String> {
        // a number with a leading zero is an error of its own
        let zero = |number: &str| number.len() > 1 && number.starts_with('0');
        if ports.split([',', ':', '-']).any(zero) {
            return None;
        }
        let known = |name: &str| self.databases.service(name, protocol).is_some();
        let named = |part: &&str| part.starts_with(|first: char| first.is_ascii_alphabetic());
        let all_known = ports.split(',').filter(named).all(known);
        if ports.split(',').any(|part| part.is_empty()) {
            let list: Vec<&str> = ports.split(',').filter(|part| !part.is_empty()).collect();
            return Some(format!("extraneous comma: did you mean '{}'?", list.join(",")))
                .filter(|_| all_known && !list.is_empty());
        }
        let range = |part: &str| {
            let (first, last) = part.split_once('-')?;
            (first.parse::<u16>().ok()? <= last.parse::<u16>().ok()?).then(|| format!("{first}:{last}"))
        };
        if all_known && ports.split(',').any(|part| range(part).is_some()) {
            let fixed: Vec<String> = ports.split(',').map(|part| range(part).unwrap_or_else(|| part.into())).collect();
            return Some(format!("did you mean '{}'?", fixed.join(",")));
        }
        let unknown = ports.split(',').filter(named).find(|name| !known(name))?;
        if let Some((_, other)) = self.databases.services().find(|(name, _)| *name == unknown) {
            return Some(format!("'{unknown}' is a service of {other}"));
        }
        let services = self.databases.services().filter(|(_, of)| *of == protocol).map(|(name, _)| name);
        nearest(unknown, services).map(|found| format!("did you mean '{found}'?"))
    }

    /// A similar set or alias, with its scope if that was wrong.
    fn named<T>(&self, word: &str, sign: &str, pick: impl Fn(&Definitions) -> &BTreeMap<String, T>) -> Option<String> {
        let name = word.rsplit('/').next().unwrap_or(word);
        let all = self.scopes.iter().flat_map(|(scope, known)| pick(known).keys().map(move |name| (scope, name)));
        let (scope, found) =
            all.min_by_key(|(_, known)| distance(name, known)).filter(|(_, known)| is_near(name, known))?;
        let plain = self.scopes.iter().find(|(_, known)| pick(known).contains_key(found));
        let scope = if plain.is_some_and(|(first, _)| first == scope) { "" } else { scope };
        Some(format!("{sign}{scope}{found}"))
    }
}

/// Whether a rule has an option already, by whatever name.
fn is_given(option: &str, line: &str) -> bool {
    let plain = |option: &str| match option.trim_start_matches('-') {
        "iface" => "i".to_string(),
        "proto" => "p".to_string(),
        other => other.to_string(),
    };
    line.split_whitespace().filter(|word| word.starts_with('-')).any(|word| plain(word) == plain(option))
}

/// The options of rules by the names that other tools have for them.
fn usual_option(word: &str) -> Option<String> {
    let option = match word.trim_start_matches('-') {
        "d" | "dst" | "destination" => "-dest",
        "s" | "src" => "-source",
        "protocol" => "-p",
        "dports" | "destination-port" => "-dport",
        "sports" | "source-port" => "-sport",
        "icmp_type" | "icmpv6-type" => "-icmp-type",
        "interface" | "in-interface" | "out-interface" => "-i",
        _ => return None,
    };
    Some(option.to_string())
}

/// The log levels by the names that syslog has had for them.
fn usual_level(word: &str) -> Option<String> {
    let level = match word.to_ascii_lowercase().as_str() {
        "warn" => "warning",
        "error" => "err",
        "critical" => "crit",
        "emergency" | "panic" => "emerg",
        "none" | "off" => "nolog",
        _ => return None,
    };
    Some(level.to_string())
}

/// ACCEPT, DROP or REJECT in place of a macro or another word.
fn verdict(word: &str) -> Option<String> {
    if let Some(known) = macros::find(word) {
        return Some(format!("{}(ACCEPT)", known.name));
    }
    match word.split_once('(') {
        // a macro is part of what the rule says: it is never left out
        Some((_, inner)) if inner.contains('(') => None,
        Some(("", inner)) => nearest(inner.trim_end_matches(')'), VERDICTS),
        Some((mac, inner)) => {
            let found = nearest(inner.trim_end_matches(')'), VERDICTS)?;
            let mac = macros::find(mac).map(|known| known.name.to_string());
            mac.map(|mac| format!("{mac}({found})"))
        }
        None => nearest(word, VERDICTS),
    }
}

fn icmp_types(family: Family) -> impl Iterator<Item = &'static str> {
    let table = match family {
        Family::V4 => icmp::V4,
        Family::V6 => icmp::V6,
    };
    table.iter().map(|row| row.0)
}

/// The suggestion for the first unknown word of a comma-separated list.
fn first_unknown<'a, I: Iterator<Item = &'a str>>(list: &str, known: impl Fn() -> I) -> Option<String> {
    let unknown = |word: &&str| !known().any(|known| known.eq_ignore_ascii_case(word));
    nearest(list.split(',').map(str::trim).find(unknown)?, known())
}

/// The most similar of the words, if it is similar enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // the first letter of a misspelt word is usually right
    let first = |text: &str| text.bytes().next().map(|byte| byte.to_ascii_lowercase());
    let best = known.into_iter().min_by_key(|known| (distance(word, known), first(word) != first(known)))?;
    is_near(word, best).then(|| best.to_string())
}

/// The number of wrong, missing, additional or swapped letters.
fn distance(word: &str, known: &str) -> usize {
    // no keyword is that long, but a line in a file can be
    if word.len() > 80 {
        return usize::MAX;
    }
    strsim::osa_distance(&word.to_ascii_lowercase(), &known.to_ascii_lowercase())
}

fn is_near(word: &str, known: &str) -> bool {
    distance(word, known) <= (word.len() / 3).clamp(1, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileKind;

    #[test]
    fn the_nearest_word_of_each_kind_is_suggested() {
        let databases = Databases::parse("tcp 6\nudp 17\n", "https 443/tcp\nntp 123/udp\n", "ARP 0806\nIPv4 0800\n");
        let mut cluster = Definitions::default();
        cluster.sets.insert("webservers".into(), crate::config::IpSet::default());
        let guest = Definitions { sets: cluster.sets.clone(), ..Definitions::default() };
        let both = vec![("guest/", &guest), ("dc/", &cluster)];
        let words = Vocabulary { databases: &databases, scopes: vec![("dc/", &cluster)], groups: vec!["admins"] };
        let service = || Sought::Service("tcp".into());
        for (word, sought, help) in [
            ("enabel", Sought::Option(FileKind::Cluster), "did you mean 'enable'?"),
            ("-sorce", Sought::RuleOption, "did you mean '-source'?"),
            ("INFO", Sought::LogLevel, "did you mean 'info'?"),
            ("Accept", Sought::Verdict, "did you mean 'ACCEPT'?"),
            ("SSH", Sought::Verdict, "did you mean 'SSH(ACCEPT)'?"),
            ("SSH(ACCPET)", Sought::Verdict, "did you mean 'SSH(ACCEPT)'?"),
            ("HTPS", Sought::Macro, "did you mean 'HTTPS'?"),
            ("TCP", Sought::Protocol, "did you mean 'tcp'?"),
            ("80,htps", service(), "did you mean 'https'?"),
            ("ntp", service(), "'ntp' is a service of udp"),
            ("echo-requst", Sought::IcmpType(Family::V4), "did you mean 'echo-request'?"),
            ("+webserver", Sought::Set, "did you mean '+webservers'?"),
            ("+guest/webservers", Sought::Set, "did you mean '+webservers'?"),
            ("webservers", Sought::Alias, "did you mean '+webservers'?"),
            ("admin", Sought::Group, "did you mean 'admins'?"),
            ("ftp,tfpt", Sought::Helper, "did you mean 'tftp'?"),
            ("arp,ipv5", Sought::Ethertype, "did you mean 'IPv4'?"),
            ("INN", Sought::RuleType, "did you mean 'IN'?"),
            ("-d", Sought::RuleOption, "did you mean '-dest'?"),
            ("-src", Sought::RuleOption, "did you mean '-source'?"),
            ("--dports", Sought::RuleOption, "did you mean '-dport'?"),
            ("warn", Sought::LogLevel, "did you mean 'warning'?"),
            ("error", Sought::LogLevel, "did you mean 'err'?"),
            ("80-90", service(), "did you mean '80:90'?"),
            ("22,80-90", service(), "did you mean '22,80:90'?"),
            ("80,", service(), "extraneous comma: did you mean '80'?"),
            ("80,,81", service(), "extraneous comma: did you mean '80,81'?"),
            ("+a,+b", Sought::Set, "one IP set for each rule: write a rule for each of them"),
            ("+webservers", Sought::Entry, "an IP set cannot contain another one: write its addresses"),
            ("webservers", Sought::Entry, "an IP set cannot contain another one: write its addresses"),
        ] {
            assert_eq!(words.help(word, &sought, "").as_deref(), Some(help), "{word}");
        }
        for (word, sought) in [
            ("xyzzy", Sought::Macro),
            ("IN", Sought::RuleType),
            ("+web", Sought::Set),
            ("70000", service()),
            (&"x".repeat(70_000), Sought::Macro),
        ] {
            assert_eq!(words.help(word, &sought, ""), None, "{word}");
        }
        let words = Vocabulary { databases: &databases, scopes: both, groups: vec![] };
        assert_eq!(words.help("+sdn/webservers", &Sought::Set, "").as_deref(), Some("did you mean '+webservers'?"));
    }
}
