//! The syntax of a rule line; its words are not resolved.
use super::sections::Line;
use super::value_parsers::log_level;
use crate::model::{Lookup, printable};

/// The words of a rule line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRule<'a> {
    /// Whether the line has no leading `|`.
    pub enabled: bool,
    /// The first word: IN, OUT, FORWARD or GROUP (case-insensitive), or an invalid type.
    pub kind: &'a str,
    /// The second word: `ACCEPT`, `SSH(ACCEPT)`, or the name of a group.
    pub action: &'a str,
    /// `-i`
    pub iface: Option<&'a str>,
    /// `-p`
    pub proto: Option<&'a str>,
    /// `-source`
    pub source: Option<&'a str>,
    /// `-dest`
    pub dest: Option<&'a str>,
    /// `-sport`
    pub sport: Option<&'a str>,
    /// `-dport`
    pub dport: Option<&'a str>,
    /// `-icmp-type`
    pub icmp_type: Option<&'a str>,
    /// `-log`, parsed: `Some(None)` is `nolog`.
    pub log: Option<Option<u8>>,
}

/// The position of the first blank; for short lines a loop is faster than memchr.
fn blank(text: &str) -> Option<usize> {
    text.bytes().position(|byte| matches!(byte, b' ' | b'\t'))
}

/// The text before and after the first blank.
fn split(text: &str) -> Option<(&str, &str)> {
    blank(text).map(|at| (&text[..at], &text[at + 1..]))
}

/// The text without leading blanks.
fn trimmed(text: &str) -> &str {
    let start = text.bytes().position(|byte| !matches!(byte, b' ' | b'\t'));
    &text[start.unwrap_or(text.len())..]
}

/// The last word of a text.
fn last_word(text: &str) -> &str {
    let text = text.trim_end();
    text.rsplit([' ', '\t']).next().unwrap_or(text)
}

/// An error in the options of a rule.
enum OptionError<'a> {
    /// A word that is not an option, such as a part of a value that contains a blank.
    NotAnOption(&'a str),
    /// A word that was looked up and not found.
    Unknown(&'a str, Lookup),
    /// The option was given before.
    Twice(&'a str),
}

/// The part of a text from one of its parts to the end of another.
fn through<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let at = |part: &str| (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    text.get(at(from)..at(to).wrapping_add(to.len())).unwrap_or(text)
}

impl<'a> RawRule<'a> {
    /// `[|]TYPE ACTION [options] [# comment]`
    pub fn parse(line: Line<'a>) -> Result<Self, Unparsable<'a>> {
        let text = line.without_comment;
        let (enabled, text) = match text.strip_prefix('|') {
            Some(rest) => (false, trimmed(rest)),
            None => (true, text),
        };
        let unparsable = |what, rest, word, lookup| {
            let text = format!("unable to parse {what}: {}", printable(rest));
            Unparsable { text, word, lookup }
        };
        let (kind, rest) = split(text).ok_or_else(|| unparsable("rule", text, text, Lookup::RuleType(&[])))?;
        let rest = trimmed(rest);
        let (action, mut rest) = split(rest).unwrap_or((rest, ""));
        let mut rule = RawRule { enabled, kind, action, ..RawRule::default() };
        rest = trimmed(rest);
        // the text of the previous option: an error report includes its last word
        let mut before = action;
        while !rest.is_empty() {
            let after = rule.option(rest).map_err(|error| match error {
                OptionError::Unknown(word, lookup) => unparsable("rule parameters", rest, word, lookup),
                OptionError::NotAnOption(word) => {
                    let last = last_word(before);
                    let mut error = unparsable("rule parameters", rest, through(text, last, word), Lookup::Joined);
                    if word.starts_with('(') && !action.contains('(') {
                        error.text += ": no blank before the parenthesis";
                    }
                    error
                }
                OptionError::Twice(word) => {
                    Unparsable { text: format!("{word} given twice"), word, lookup: Lookup::GivenTwice }
                }
            })?;
            before = &rest[..rest.len() - after.len()];
            rest = after;
        }
        Ok(rule)
    }

    /// Parses a leading `-x value`.
    fn option(&mut self, text: &'a str) -> Result<&'a str, OptionError<'a>> {
        let (option, rest) = split(text).unwrap_or((text, ""));
        let named = option.trim_start_matches('-').starts_with(|first: char| first.is_ascii_alphabetic());
        if !option.starts_with('-') || !named {
            // '-' between the addresses of a range, or the end of a macro's parentheses
            let next = trimmed(rest).split([' ', '\t']).next().filter(|next| option == "-" || *next == ")");
            return Err(OptionError::NotAnOption(next.map_or(option, |next| through(text, option, next))));
        }
        let unknown = || OptionError::Unknown(option, Lookup::RuleOption);
        let rest = trimmed(rest);
        let (value, rest) = rest.split_at(blank(rest).unwrap_or(rest.len()));
        let rest = trimmed(rest);
        let slot = match option {
            "-i" | "-iface" | "--iface" => &mut self.iface,
            "-p" | "-proto" | "--proto" => &mut self.proto,
            "-source" | "--source" => &mut self.source,
            "-dest" | "--dest" => &mut self.dest,
            "-sport" | "--sport" => &mut self.sport,
            "-dport" | "--dport" => &mut self.dport,
            "-icmp-type" | "--icmp-type" => &mut self.icmp_type,
            "-log" | "--log" if value.is_empty() => return Err(unknown()),
            "-log" | "--log" => {
                let level = log_level(value).ok_or(OptionError::Unknown(value, Lookup::LogLevel))?;
                return if self.log.replace(level).is_some() { Err(OptionError::Twice(option)) } else { Ok(rest) };
            }
            _ => return Err(unknown()),
        };
        if value.is_empty() {
            return Err(unknown());
        }
        // otherwise the last one would be used silently, and it may match more packets
        if slot.replace(value).is_some() { Err(OptionError::Twice(option)) } else { Ok(rest) }
    }

    /// The word for the part of a report: the name of an option, `type`, `action` or `macro`.
    pub fn word(&self, part: &str) -> Option<&'a str> {
        match part {
            "type" => Some(self.kind),
            "action" => Some(self.action),
            "macro" => self.action.split('(').next(),
            "iface" => self.iface,
            "proto" => self.proto,
            "source" => self.source,
            "dest" => self.dest,
            "sport" => self.sport,
            "dport" => self.dport,
            "icmp-type" => self.icmp_type,
            _ => None,
        }
    }
}

/// A line that is not a rule.
#[derive(Debug)]
pub struct Unparsable<'a> {
    /// The text of a report.
    pub text: String,
    /// The offending word.
    pub word: &'a str,
    /// The list of valid words.
    pub lookup: Lookup,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RawRule<'_>, String> {
        RawRule::parse(Line::new(1, text)).map_err(|error| error.text)
    }

    #[test]
    fn options_in_every_spelling_and_order_are_accepted() {
        let rule = parse("|in\tSSH(ACCEPT) --iface net0  -dport 22 -p tcp\t-log info --source +a # x # y").unwrap();
        assert!(!rule.enabled);
        assert_eq!((rule.kind, rule.action, rule.iface, rule.proto), ("in", "SSH(ACCEPT)", Some("net0"), Some("tcp")));
        assert_eq!((rule.dport, rule.source, rule.log), (Some("22"), Some("+a"), Some(Some(6))));
        assert_eq!(parse("GROUP web").unwrap().action, "web");
        let rule = parse("IN\t ACCEPT  -p  tcp \t-dport\t22").unwrap();
        assert_eq!((rule.proto, rule.dport), (Some("tcp"), Some("22")));
    }

    #[test]
    fn errors_name_the_part_that_could_not_be_read() {
        for (text, error) in [
            ("IN", "unable to parse rule: IN"),
            ("|IN # c", "unable to parse rule: IN"),
            ("this is not a rule", "unable to parse rule parameters: not a rule"),
            ("IN ACCEPT -p tcp trailing garbage", "unable to parse rule parameters: trailing garbage"),
            ("IN ACCEPT -p tcp -dport 23 -dport 2323", "-dport given twice"),
            ("IN ACCEPT -p tcp --proto udp", "--proto given twice"),
            ("IN ACCEPT -i vmbr0 -iface vmbr1", "-iface given twice"),
            ("IN ACCEPT -source 1.1.1.1 --source 1.1.1.1", "--source given twice"),
            ("IN ACCEPT -log nolog -log info", "-log given twice"),
            ("IN SSH (ACCEPT)", "unable to parse rule parameters: (ACCEPT): no blank before the parenthesis"),
            ("IN HTTP\t(DROP) -i x", "unable to parse rule parameters: (DROP) -i x: no blank before the parenthesis"),
            ("IN ACCEPT -p", "unable to parse rule parameters: -p"),
            ("IN ACCEPT -log loud", "unable to parse rule parameters: -log loud"),
            ("IN ACCEPT -log INFO", "unable to parse rule parameters: -log INFO"),
            ("IN ACCEPT ---p tcp", "unable to parse rule parameters: ---p tcp"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error);
        }
    }
}
