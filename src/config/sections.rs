//! Lines and sections of a configuration file.
use crate::model::{FileKind, Lookup, Report, Span, decoded, is_plain, lowercase, printable};
use memchr::{memchr, memchr_iter};
use std::borrow::Cow;
use std::sync::Arc;

/// The maximum length of a line, in bytes.
const MAX_LINE_LENGTH: usize = 65_536;

/// A line that is neither empty nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line number, counted from 1.
    pub number: u32,
    /// The trimmed text, without control characters except tabs.
    pub text: &'a str,
    /// The trimmed text before the first `#`.
    pub without_comment: &'a str,
    /// The untrimmed text.
    pub whole: &'a str,
}

impl<'a> Line<'a> {
    /// A line of a file.
    pub fn new(number: u32, whole: &'a str) -> Self {
        let text = blank_trimmed(whole);
        let without_comment = memchr(b'#', text.as_bytes()).map_or(text, |end| blank_trimmed(&text[..end]));
        Line { number, text, without_comment, whole }
    }

    /// The position of a part in the line; the whole text if it is not a part of it.
    pub fn span(&self, part: &str) -> Span {
        let start = |part: &str| (part.as_ptr() as usize).checked_sub(self.whole.as_ptr() as usize);
        let span = |part: &str| start(part).map(|start| Span { start, end: start + part.len() });
        span(part).filter(|span| span.end <= self.whole.len()).or_else(|| span(self.text)).unwrap_or_default()
    }
}

/// A section with a name: an IP set or a group.
#[derive(Clone, Debug, Default)]
pub struct Named<'a> {
    /// The name in lower case.
    pub name: String,
    /// The line of the header.
    pub line: u32,
    /// The lines of the section.
    pub lines: Vec<Line<'a>>,
}

/// The lines of a file by section.
#[derive(Debug, Default)]
pub struct Sections<'a> {
    /// `[OPTIONS]`
    pub options: Vec<Line<'a>>,
    /// `[ALIASES]`
    pub aliases: Vec<Line<'a>>,
    /// `[RULES]`
    pub rules: Vec<Line<'a>>,
    /// `[IPSET name]`; those with the same name are joined.
    pub sets: Vec<Named<'a>>,
    /// `[GROUP name]`; likewise.
    pub groups: Vec<Named<'a>>,
}

/// The section to which lines are added.
enum CurrentSection {
    /// No section; whether that was reported for this block of lines.
    NoSection {
        reported: bool,
    },
    Options,
    Aliases,
    Rules,
    Set(usize),
    Group(usize),
}

/// The text of a file, without the byte order mark of some editors. U+FFFD in place of other bytes is not allowed in any value.
pub fn decode(content: &[u8]) -> Cow<'_, str> {
    decoded(content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content))
}

/// The text before and after the first occurrence of an ASCII byte. For short words a loop is faster than memchr.
pub fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    text.bytes().position(|byte| byte == at).map(|at| (&text[..at], &text[at + 1..]))
}

fn blank_trimmed(text: &str) -> &str {
    let other = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r');
    let Some(start) = text.as_bytes().iter().position(other) else { return "" };
    let end = text.as_bytes().iter().rposition(other).map_or(start, |last| last + 1);
    &text[start..end]
}

/// The lines without line ends.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends = memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    ends.scan(0, |start, end| {
        let line = &text[*start..end];
        *start = end + 1;
        Some(line)
    })
}

impl<'a> Sections<'a> {
    /// Splits a file into sections, and reports lines outside of sections.
    pub fn of(text: &'a str, file: &Arc<str>, kind: FileKind, reports: &mut Vec<Report>) -> Self {
        // most lines are rules
        let rules = Vec::with_capacity(memchr_iter(b'\n', text.as_bytes()).count());
        let mut sections = Sections { rules, ..Sections::default() };
        let mut place = CurrentSection::NoSection { reported: false };
        // one check of the file is faster than one of each line
        let plain = is_plain(text);
        for (number, raw) in (1..).zip(lines(text)) {
            let line = Line::new(number, raw);
            if line.text.is_empty() || line.text.starts_with('#') {
                continue;
            }
            if let Some(error) = unreadable(line.without_comment, plain) {
                reports.push(Report::line(file, number, error));
                continue;
            }
            match header(line, kind) {
                Some(header) => place = sections.open(line, header, kind, file, reports),
                // every line that begins like a header ends the section
                None if line.text.starts_with('[') => {
                    place = sections.invalid_header(line, &mut place, kind, file, reports)
                }
                None => sections.put(line, &mut place, file, reports),
            }
        }
        sections
    }

    fn open(
        &mut self,
        line: Line<'a>,
        header: Header<'a>,
        kind: FileKind,
        file: &Arc<str>,
        reports: &mut Vec<Report>,
    ) -> CurrentSection {
        let checked = |name: &str, what: &str, longest: usize, reports: &mut Vec<Report>| {
            let error = if !is_name(name) {
                format!("invalid {what} name '{}'", printable(name))
            } else if name.len() > longest {
                format!("{what} name too long")
            } else {
                return Some(Named { name: name.to_ascii_lowercase(), line: line.number, lines: Vec::new() });
            };
            reports.push(Report::line(file, line.number, error).at(line.span(line.text), Some(Lookup::Section(kind))));
            None
        };
        match header {
            Header::Options => CurrentSection::Options,
            Header::Aliases => CurrentSection::Aliases,
            Header::Rules => CurrentSection::Rules,
            Header::Set(name) => match checked(name, "ipset", MAX_NAME_LENGTH, reports) {
                Some(set) => CurrentSection::Set(join(&mut self.sets, set, "ipset", file, reports)),
                None => CurrentSection::NoSection { reported: false },
            },
            Header::Group(name) => match checked(name, "security group", MAX_GROUP_LENGTH, reports) {
                Some(group) => CurrentSection::Group(join(&mut self.groups, group, "group", file, reports)),
                None => CurrentSection::NoSection { reported: false },
            },
        }
    }

    /// A line that begins like a header but is not one: the lines below it belong to no section.
    fn invalid_header(
        &mut self,
        line: Line<'a>,
        place: &mut CurrentSection,
        kind: FileKind,
        file: &Arc<str>,
        reports: &mut Vec<Report>,
    ) -> CurrentSection {
        let at = |report: Report| report.at(line.span(line.text), Some(Lookup::Section(kind)));
        let keyword = line.text[1..].split([' ', '\t', ']']).next().unwrap_or_default();
        let of_other_files = ["group", "ipset", "aliases"].iter().any(|known| known.eq_ignore_ascii_case(keyword));
        match place {
            // the header of a section that only other kinds of files have is reported as a line of the current section
            CurrentSection::Rules if of_other_files && line.without_comment.ends_with(']') => {
                self.rules.push(line);
                CurrentSection::NoSection { reported: true }
            }
            CurrentSection::NoSection { .. } => {
                reports.push(at(Report::line(file, line.number, "skip line - no section")));
                CurrentSection::NoSection { reported: false }
            }
            _ => {
                let text = format!("unknown section '{}': the lines below it are ignored", printable(line.text));
                reports.push(at(Report::line(file, line.number, text)));
                CurrentSection::NoSection { reported: true }
            }
        }
    }

    fn put(&mut self, line: Line<'a>, place: &mut CurrentSection, file: &Arc<str>, reports: &mut Vec<Report>) {
        let lines = match place {
            CurrentSection::NoSection { reported } => {
                if !std::mem::replace(reported, true) {
                    reports.push(Report::line(file, line.number, "skip line - no section"));
                }
                return;
            }
            CurrentSection::Options => Some(&mut self.options),
            CurrentSection::Aliases => Some(&mut self.aliases),
            CurrentSection::Rules => Some(&mut self.rules),
            CurrentSection::Set(index) => self.sets.get_mut(*index).map(|set| &mut set.lines),
            CurrentSection::Group(index) => self.groups.get_mut(*index).map(|group| &mut group.lines),
        };
        if let Some(lines) = lines {
            lines.push(line);
        }
    }
}

/// The index of the section with this name: a new one, or the first one, which is continued.
fn join<'a>(
    sections: &mut Vec<Named<'a>>,
    section: Named<'a>,
    what: &str,
    file: &Arc<str>,
    reports: &mut Vec<Report>,
) -> usize {
    let Some(index) = sections.iter().position(|known| known.name == section.name) else {
        sections.push(section);
        return sections.len() - 1;
    };
    let first = sections[index].line;
    let text = format!("{what} '{}' is already defined in line {first}: both parts are joined", section.name);
    reports.push(Report::warning(file, section.line, text));
    index
}

/// The error of a line that cannot be parsed at all, `plain` if its file is plain text.
fn unreadable(text: &str, plain: bool) -> Option<String> {
    if text.len() <= MAX_LINE_LENGTH && (plain || is_plain(text)) {
        return None;
    }
    if text.len() > MAX_LINE_LENGTH {
        return Some(format!("skip line - longer than {MAX_LINE_LENGTH} bytes"));
    }
    if text.contains('\u{fffd}') {
        return Some(format!("skip line - not valid UTF-8: {}", printable(text)));
    }
    text.chars()
        .any(|one| one.is_control() && one != '\t')
        .then(|| format!("skip line - control character: {}", printable(text)))
}

enum Header<'a> {
    Options,
    Aliases,
    Rules,
    Set(&'a str),
    Group(&'a str),
}

/// Whether a line is a valid header in this kind of file.
pub fn is_header(text: &str, kind: FileKind) -> bool {
    match header(Line::new(0, text), kind) {
        Some(Header::Options | Header::Aliases | Header::Rules) => true,
        Some(Header::Set(name)) => is_name(name) && name.len() <= MAX_NAME_LENGTH,
        Some(Header::Group(name)) => is_name(name) && name.len() <= MAX_GROUP_LENGTH,
        None => false,
    }
}

fn header(line: Line<'_>, kind: FileKind) -> Option<Header<'_>> {
    let (groups, definitions) = match kind {
        FileKind::Cluster => (true, true),
        FileKind::Guest => (false, true),
        FileKind::Host | FileKind::Vnet => (false, false),
    };
    let inside = line.without_comment.strip_prefix('[')?.strip_suffix(']')?;
    // accept any text as a name here, so that the lines below an invalid name are not added to the previous section
    let (keyword, name) = inside.split_once([' ', '\t']).unwrap_or((inside, ""));
    let name = blank_trimmed(name);
    match &*lowercase(keyword) {
        "options" if name.is_empty() => Some(Header::Options),
        "rules" if name.is_empty() => Some(Header::Rules),
        "aliases" if name.is_empty() && definitions => Some(Header::Aliases),
        "ipset" if definitions => Some(Header::Set(name)),
        "group" if groups => Some(Header::Group(name)),
        _ => None,
    }
}

/// The maximum length of the name of an IP set or alias, in characters.
pub const MAX_NAME_LENGTH: usize = 64;
/// The maximum length of the name of a group, in characters: `GROUP-<name>-OUT` must be a valid chain name.
pub const MAX_GROUP_LENGTH: usize = 18;

/// Whether the text is a name: a letter, then one or more letters, digits, `_` and `-`.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && text.len() > 1
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(text: &str) -> (Sections<'_>, Vec<String>) {
        let mut reports = Vec::new();
        let sections = Sections::of(text, &"f".into(), FileKind::Cluster, &mut reports);
        (sections, reports.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn sections_can_be_continued_and_every_line_is_counted() {
        let text = "[options]\r\n a: 1\n#\n\n[Rules]\nIN ACCEPT\n[OPTIONS]\nb: 2\n[ipset Web] # x\n1.1.1.1\n[group gg]#c\nIN DROP";
        let (sections, reports) = sections(text);
        assert_eq!(reports, [""; 0]);
        let numbers: Vec<_> = sections.options.iter().map(|line| (line.number, line.text)).collect();
        assert_eq!(numbers, [(2, "a: 1"), (8, "b: 2")]);
        assert_eq!((sections.sets[0].name.as_str(), sections.sets[0].line), ("web", 9));
        assert_eq!(sections.groups[0].lines.len(), 1);
    }

    #[test]
    fn lines_that_begin_like_a_header_end_the_section() {
        for text in ["[RULE]", "[ RULES]", "[IPSETS ab]", "[GROUP gg] x", "[GROUP gg", "[RULES", "[RULES] x", "["] {
            let whole = format!("[OPTIONS]\na: 1\n{text}\nb: 2\nc: 3\n[OPTIONS] # more\nd: 4");
            let (sections, reports) = sections(&whole);
            let options: Vec<_> = sections.options.iter().map(|line| line.text).collect();
            assert_eq!(options, ["a: 1", "d: 4"], "{text}");
            assert_eq!(reports, [format!("f (line 3): unknown section '{text}': the lines below it are ignored")]);
        }
    }

    #[test]
    fn comments_may_follow_every_header() {
        for header in ["[RULES] # c", "[RULES]#c", "[OPTIONS] #", "[aliases]\t# [x]", "[ipset ab]# c", "[GROUP gg] # c"]
        {
            let whole = format!("{header}\nx y");
            let (sections, reports) = sections(&whole);
            assert_eq!(reports, [""; 0], "{header}");
            let Sections { options, aliases, rules, sets, groups } = sections;
            let named = sets.iter().chain(&groups).map(|one| one.lines.len()).sum::<usize>();
            assert_eq!(options.len() + aliases.len() + rules.len() + named, 1, "{header}");
        }
    }

    #[test]
    fn sections_with_one_name_are_joined() {
        let (sections, reports) = sections("[IPSET Ab]\n1.1.1.1\n[GROUP gg]\nx\n[ipset aB]\n2.2.2.2\n[group GG]\ny\n");
        assert_eq!((sections.sets.len(), sections.sets[0].lines.len()), (1, 2));
        assert_eq!((sections.groups.len(), sections.groups[0].lines.len()), (1, 2));
        assert_eq!(
            reports,
            [
                "f (line 5): ipset 'ab' is already defined in line 1: both parts are joined",
                "f (line 7): group 'gg' is already defined in line 3: both parts are joined",
            ]
        );
    }

    #[test]
    fn lines_below_an_invalid_section_header_are_ignored() {
        for (header, name) in
            [("[IPSET a b]", "a b"), ("[IPSET]", ""), ("[IPSET b]ar] # c", "b]ar"), ("[ipset x]", "x")]
        {
            let text = format!("[IPSET good]\n10.0.0.1\n{header}\n10.0.0.2\n");
            let (sections, reports) = sections(&text);
            assert_eq!(sections.sets[0].lines.len(), 1, "{header}");
            let expected =
                [format!("f (line 3): invalid ipset name '{name}'"), "f (line 4): skip line - no section".into()];
            assert_eq!(reports, expected);
        }
    }

    #[test]
    fn a_byte_order_mark_before_a_header_is_ignored() {
        assert_eq!(decode("\u{feff}[OPTIONS]".as_bytes()), "[OPTIONS]");
    }

    #[test]
    fn malicious_lines_are_reported_and_skipped() {
        let long = "x".repeat(10_000_000);
        let text = format!("[RULES]\nIN\0ACCEPT\nIN \u{fffd}\n{long}\nIN ACCEPT # \u{fffd}\0\n");
        let (sections, reports) = sections(&text);
        assert_eq!(sections.rules.len(), 1);
        assert_eq!(reports[0], "f (line 2): skip line - control character: IN\\u{0}ACCEPT");
        assert_eq!(reports[1], "f (line 3): skip line - not valid UTF-8: IN \u{fffd}");
        assert_eq!(reports[2], "f (line 4): skip line - longer than 65536 bytes");
    }

    #[test]
    fn names() {
        for (name, good) in [("ab", true), ("a-_9", true), ("a", false), ("9a", false), ("a.b", false), ("", false)] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
