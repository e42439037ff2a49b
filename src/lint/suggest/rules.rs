//! Suggestions for the words of rules.
use super::addresses::is_everything;
use super::words::{bare, common_level, common_verdict, did_you_mean, nearest};
use super::{LEVELS, Vocabulary};
use crate::builtin::icmp;
use crate::builtin::macros::{self, MACROS};
use crate::config::{icmp_type, literal, ports};
use crate::model::{Family, Spelled};

const TYPES: [&str; 4] = ["IN", "OUT", "FORWARD", "GROUP"];
const VERDICTS: [&str; 3] = ["ACCEPT", "DROP", "REJECT"];
/// The options of rules with whole words as names.
const OPTIONS: [&str; 8] = ["-iface", "-proto", "-source", "-dest", "-sport", "-dport", "-icmp-type", "-log"];

/// For a word that is not a rule type, or not one that is allowed here.
pub fn rule_type(word: &str, here: &[&str]) -> Option<String> {
    let upper = word.to_ascii_uppercase();
    if word.starts_with([';', '/', '-', '\\']) {
        return Some("a comment begins with '#'".to_string());
    }
    if let Some(section) = word.strip_prefix('[') {
        let text = match section.to_ascii_lowercase().as_str() {
            "group" => "a group is defined in cluster.fw; a rule 'GROUP NAME' uses it",
            _ => "this section belongs in cluster.fw or in a guest's file",
        };
        return Some(text.to_string());
    }
    if here.is_empty() {
        // the line has a single word
        return match TYPES.contains(&upper.as_str()) {
            true if upper == "GROUP" => Some("the name of the group is missing: GROUP NAME".to_string()),
            true => Some(format!("the action is missing: {upper} ACCEPT, DROP or REJECT")),
            false if verdict(word).is_some() || macros::find(word.split('(').next()?).is_some() => {
                Some("a rule begins with IN or OUT".to_string())
            }
            false => None,
        };
    }
    if TYPES.contains(&upper.as_str()) {
        return Some(match (upper.as_str(), here.contains(&"GROUP")) {
            ("GROUP", _) => "a group cannot contain another one: copy its rules".to_string(),
            ("FORWARD", _) => "FORWARD rules belong in cluster.fw, host.fw and the files of vnets".to_string(),
            _ => format!("only {} rules are allowed here", here.join(" and ")),
        });
    }
    let usual = match upper.trim_start_matches('|') {
        "INPUT" | "INCOMING" | "INBOUND" => Some("IN"),
        "OUTPUT" | "OUTGOING" | "OUTBOUND" => Some("OUT"),
        "FWD" => Some("FORWARD"),
        _ => None,
    };
    if let Some(usual) = usual.filter(|usual| here.contains(usual)) {
        return Some(did_you_mean(usual));
    }
    if VERDICTS.contains(&upper.as_str()) {
        return Some("write the direction before the action: IN ACCEPT".to_string());
    }
    nearest(word, here.iter().copied()).map(did_you_mean)
}

/// For a word with a dash that is not an option of a rule, or an option without its value.
pub fn option(word: &str, line: &str) -> Option<String> {
    let plain = word.trim_start_matches('-');
    if let Some((name, value)) = plain.split_once('=') {
        let name = common_option(name).or_else(|| known_option(name))?;
        return (!value.is_empty() && !is_given(&name, line)).then(|| did_you_mean(format_args!("{name} {value}")));
    }
    if word.len() - plain.len() <= 2 && known_option(plain).is_some() {
        return Some("its value is missing".to_string());
    }
    if plain.starts_with(|first: char| first.is_ascii_digit()) {
        return Some("a range or list must not contain blanks".to_string());
    }
    let out =
        line.split_whitespace().next().is_some_and(|kind| kind.trim_start_matches('|').eq_ignore_ascii_case("out"));
    let reason = match plain {
        "o" | "out-interface" if out && !is_given("-i", line) => return Some(did_you_mean("-i")),
        "o" | "out-interface" => {
            "a rule has one interface, -i: the incoming one of IN rules, the outgoing one of OUT rules"
        }
        "j" | "jump" | "action" | "policy" => "write the action after IN or OUT",
        "m" | "match" | "state" | "ctstate" => "matches of iptables cannot be used",
        "comment" => "a comment begins with '#'",
        "enable" | "disable" => "a rule is switched off by '|' in front of it",
        "macro" => "write a macro with its action after IN or OUT: SSH(ACCEPT)",
        "group" => "write a group in a rule of its own: GROUP NAME",
        "mac" | "mac-source" => "no rule can match a MAC address: the option macfilter of a guest checks them",
        _ => "",
    };
    if !reason.is_empty() {
        return Some(reason.to_string());
    }
    let free = |option: &&str| !is_given(option, line);
    let usual = common_option(plain).filter(|option| free(&option.as_str()));
    let near = || nearest(&format!("-{plain}"), OPTIONS.into_iter().filter(free));
    usual.or_else(near).filter(|found| found != word).map(did_you_mean)
}

/// For an option that is given twice.
pub fn given_twice(word: &str) -> String {
    let text = match word.trim_start_matches('-') {
        "dport" | "sport" => "keep one; several ports are a list: 80,443",
        "source" | "dest" => "keep one; several addresses are a list, or an IP set",
        "i" | "iface" => "keep one, and write a rule for each interface",
        "p" | "proto" => "keep one, and write a rule for each protocol",
        _ => "keep one of them",
    };
    text.to_string()
}

/// For a word that is not an option, with the word before it.
pub fn joined(words: &str) -> Option<String> {
    let together: String = words.split_whitespace().collect();
    let (first, last) = words.split_once([' ', '\t'])?;
    let last = last.trim();
    let is_list = first.ends_with(',') || last.starts_with(',');
    let is_range = (last.starts_with('-') || first.ends_with('-')) && literal(&together).is_ok();
    let is_macro = macros::find(first.trim_end_matches('(')).is_some();
    let closed = together.split_once('(').filter(|(mac, _)| macros::find(mac).is_some());
    if first.starts_with('-') {
        return Some("write the action after the direction: IN ACCEPT".to_string());
    }
    if let Some(whole) = closed.filter(|(_, inner)| inner.ends_with(')')).and_then(|_| verdict(&together)) {
        return Some(did_you_mean(whole));
    }
    if last.starts_with(['#', ';', '/']) {
        return Some("a comment begins with '#'".to_string());
    }
    if first.starts_with('!') || last.starts_with('!') {
        return Some("a rule cannot exclude: use an IP set with '!' entries".to_string());
    }
    if is_macro {
        let verdict = last.trim_matches(['(', ')', ' ']);
        let verdict = VERDICTS.into_iter().find(|known| known.eq_ignore_ascii_case(verdict))?;
        return Some(did_you_mean(format_args!("{}({verdict})", first.trim_end_matches('('))));
    }
    match is_list || is_range {
        true if !together.ends_with(',') => {
            Some(format!("a range or list must not contain blanks: {}", did_you_mean(together)))
        }
        _ if last.starts_with('-') || last == ")" => None,
        _ => Some("a comment begins with '#'".to_string()),
    }
}

/// ACCEPT, DROP or REJECT in place of a macro or another word.
pub fn verdict(word: &str) -> Option<String> {
    let known = |word: &str| common_verdict(word).map(str::to_string).or_else(|| nearest(word, VERDICTS));
    if let Some(known) = macros::find(word) {
        return Some(format!("{}(ACCEPT)", known.name));
    }
    match word.split_once('(') {
        // a macro is never left out, because the rule would then match other packets
        Some((_, inner)) if inner.contains('(') => None,
        Some(("", inner)) => known(inner.trim_end_matches(')')),
        Some((mac, inner)) => {
            let inner = inner.trim_end_matches(')');
            let (mac, verdict) = if macros::find(mac).is_some() { (mac, inner) } else { (inner, mac) };
            let mac = macros::find(mac)?.name;
            Some(format!("{mac}({})", known(verdict)?))
        }
        None => known(word),
    }
}

/// For a level of `-log`.
pub fn level(word: &str) -> Option<String> {
    common_level(word).map(str::to_string).or_else(|| nearest(word, LEVELS)).map(did_you_mean)
}

impl Vocabulary<'_> {
    /// For an unknown macro.
    pub fn macro_name(&self, word: &str) -> Option<String> {
        if self.groups.iter().any(|group| group.eq_ignore_ascii_case(word)) {
            return Some(format!("it is a group: write a rule 'GROUP {word}'"));
        }
        nearest(word, MACROS.iter().map(|one| one.name)).map(did_you_mean)
    }

    /// For an unknown protocol.
    pub fn protocol(&self, word: &str, line: &str) -> Option<String> {
        let lower = bare(word).to_ascii_lowercase();
        let usual = match lower.as_str() {
            "icmp4" | "icmpv4" | "ping" => Some("icmp"),
            "icmp6" | "ipv6icmp" | "ping6" => Some("icmpv6"),
            other => self.databases.protocols().find(|known| *known == other),
        };
        if let Some(usual) = usual.filter(|usual| *usual != word && self.fits(usual, line)) {
            return Some(did_you_mean(usual));
        }
        if is_everything(word) {
            return Some("leave it out: a rule without it matches every protocol".to_string());
        }
        if word.contains([',', '/', '+', '|']) || (lower.contains("tcp") && lower.contains("udp") && lower.len() > 5) {
            return Some("one protocol for each rule: write a rule for each of them".to_string());
        }
        nearest(word, self.databases.protocols().filter(|name| self.fits(name, line))).map(did_you_mean)
    }

    /// Whether a rule can have a protocol: a rule with ports needs a protocol with ports. The number 0 is no protocol.
    fn fits(&self, protocol: &str, line: &str) -> bool {
        const WITH_PORTS: [&str; 5] = ["tcp", "udp", "dccp", "sctp", "udplite"];
        let ports = is_given("-dport", line) || is_given("-sport", line);
        let number = self.databases.protocol(protocol);
        number.is_some_and(|number| number > 0) && (!ports || WITH_PORTS.contains(&protocol))
    }

    /// For a list of ports with one that does not exist for the protocol.
    pub fn service(&self, word: &str, protocol: &str) -> Option<String> {
        let number = self.databases.protocol(protocol)?;
        let of = Spelled::new(protocol, number)?;
        let valid = |text: &str| ports(text, &of, self.databases).is_ok();
        if !valid("1") {
            return Some(format!("leave it out: '{protocol}' has no ports"));
        }
        if is_everything(word) {
            return Some("leave it out: a rule without it matches every port".to_string());
        }
        let parts: Vec<&str> = word.split([',', ';']).collect();
        let found: Vec<String> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| self.port(part, protocol)).collect();
        let found = found.join(",");
        if valid(&found) && found != word {
            let comma = if parts.iter().any(|part| part.is_empty()) { "extraneous comma: " } else { "" };
            return Some(format!("{comma}{}", did_you_mean(found)));
        }
        if parts.iter().any(|part| part.len() > 4 && part.bytes().all(|byte| byte.is_ascii_digit())) {
            return Some("ports are numbers from 0 to 65535".to_string());
        }
        let unknown = parts.iter().find(|part| self.databases.service(part, protocol).is_none() && !part.is_empty())?;
        let (_, other) = self.databases.services().find(|(name, _)| name == unknown)?;
        Some(format!("'{unknown}' is a service of {other}"))
    }

    /// A port or range, as it was probably meant.
    fn port(&self, part: &str, protocol: &str) -> String {
        let part = bare(part);
        let known = |name: &str| self.databases.service(name, protocol).is_some();
        let name = part.strip_suffix(protocol).and_then(|name| name.strip_suffix('/')).unwrap_or(part);
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text == "0" || !text.starts_with('0'));
        if let Some((first, last)) = name.split_once([':', '-']) {
            return match (number(first), number(last)) {
                (None, Some(last)) if first.is_empty() => format!("0:{last}"),
                (Some(first), None) if last.is_empty() => format!("{first}:65535"),
                (Some(first), Some(last)) => format!("{first}:{last}"),
                _ if known(name) => name.to_string(),
                _ => self.service_name(name, protocol),
            };
        }
        if known(name) || number(name).is_some() { name.to_string() } else { self.service_name(name, protocol) }
    }

    /// A service by a similar name, or by the macro of that name, as a port.
    fn service_name(&self, name: &str, protocol: &str) -> String {
        let of_macro = |mac: &macros::Macro| mac.v4.iter().find(|rule| rule.proto == protocol)?.dport;
        let is_other = self.databases.services().any(|(known, _)| known == name);
        let services = || self.databases.services().filter(|(_, of)| *of == protocol).map(|(name, _)| name);
        let by_macro = macros::find(name).and_then(of_macro).map(str::to_string);
        let near = || if is_other { None } else { nearest(name, services()) };
        by_macro.or_else(near).unwrap_or_else(|| name.to_string())
    }
}

/// For an ICMP type that the family does not have.
pub fn icmp(word: &str, family: Family) -> Option<String> {
    let names = |family| match family {
        Family::V4 => icmp::V4,
        Family::V6 => icmp::V6,
    };
    let usual = match word.to_ascii_lowercase().as_str() {
        "ping" | "echo" | "request" => Some("echo-request"),
        "pong" | "reply" => Some("echo-reply"),
        "unreachable" => Some("destination-unreachable"),
        _ => None,
    };
    let number = word.split('/').next().filter(|number| *number != word);
    let exact = names(family).iter().map(|row| row.0).find(|name| name.eq_ignore_ascii_case(word));
    let near = || nearest(word, names(family).iter().map(|row| row.0));
    let found = usual.or(number).or(exact).map(str::to_string);
    if let Some(found) = found.filter(|found| found != word && icmp_type(found, family).is_some()) {
        return Some(did_you_mean(found));
    }
    if is_everything(word) || word == "255" {
        return Some("leave it out: a rule without it matches every type".to_string());
    }
    let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
    if names(other).iter().any(|row| row.0 == word) {
        let proto = if other == Family::V4 { "icmp" } else { "icmpv6" };
        return Some(format!("it is a type of '-p {proto}'"));
    }
    near().map(did_you_mean)
}

/// For a rule with ports and no protocol.
pub fn port_protocol(line: &str) -> String {
    let action = line.split_whitespace().nth(1).unwrap_or_default();
    match action.split_once('(') {
        Some((mac, _)) if macros::find(mac).is_some() => {
            format!("{mac} has its own protocol and ports: leave the ports out")
        }
        _ => "add '-p tcp' or '-p udp'".to_string(),
    }
}

/// Whether a rule already has an option, under any of its names.
fn is_given(option: &str, line: &str) -> bool {
    let plain = |option: &str| match option.trim_start_matches('-') {
        "iface" => "i".to_string(),
        "proto" => "p".to_string(),
        other => other.to_string(),
    };
    line.split_whitespace().filter(|word| word.starts_with('-')).any(|word| plain(word) == plain(option))
}

fn known_option(plain: &str) -> Option<String> {
    let found = OPTIONS.into_iter().chain(["-i", "-p"]).find(|known| &known[1..] == plain);
    found.map(str::to_string)
}

/// The options of rules by their names in other tools.
fn common_option(plain: &str) -> Option<String> {
    let option = match plain {
        "d" | "dst" | "destination" | "to" => "-dest",
        "s" | "src" | "from" => "-source",
        "protocol" => "-p",
        "dports" | "destination-port" | "port" | "ports" => "-dport",
        "sports" | "source-port" => "-sport",
        "icmp_type" | "icmpv6-type" | "icmptype" => "-icmp-type",
        "interface" | "in-interface" | "dev" => "-i",
        "loglevel" | "log-level" | "log_level" => "-log",
        _ => return None,
    };
    Some(option.to_string())
}
