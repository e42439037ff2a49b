//! Reports of what is wrong in a file.
use super::family::Family;
use std::fmt;
use std::sync::Arc;

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// `firewall/cluster.fw`
    Cluster,
    /// `nodes/<node>/host.fw`
    Host,
    /// `firewall/<VMID>.fw`
    Guest,
    /// `sdn/firewall/<vnet>.fw`
    Vnet,
}

/// How much a report matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is lost: the line generates nothing.
    Error,
    /// It works, and is perhaps not what was meant.
    Warning,
}

/// A part of a line, in bytes from the line's first one, blanks before its text included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its first byte, counted from 0.
    pub start: usize,
    /// The byte after its last one.
    pub end: usize,
}

/// What a word was looked up in, and not found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sought {
    /// The options of a kind of file.
    Option(FileKind),
    /// The types of rules: IN, OUT, FORWARD, GROUP.
    RuleType,
    /// The options of a rule: `-source`.
    RuleOption,
    /// The levels of `-log`.
    LogLevel,
    /// ACCEPT, DROP, REJECT.
    Verdict,
    /// The macros.
    Macro,
    /// `/etc/protocols`
    Protocol,
    /// `/etc/services`, with this protocol; the word is a list of ports.
    Service(String),
    /// The names of ICMP types.
    IcmpType(Family),
    /// The IP sets.
    Set,
    /// The aliases.
    Alias,
    /// The security groups.
    Group,
    /// The conntrack helpers; the word is a list.
    Helper,
    /// `/etc/ethertypes`; the word is a list.
    Ethertype,
}

/// The place in a line that a report is about. A report's text does not show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Where.
    pub span: Span,
    /// What is said about it, where the report says more than one thing.
    pub label: String,
    /// What the word at this place was looked up in.
    pub sought: Option<Sought>,
}

/// What is wrong with a part of a rule or entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part's name.
    pub part: &'static str,
    /// What is wrong.
    pub text: String,
    /// What its word was looked up in.
    pub sought: Option<Sought>,
}

impl Fault {
    /// A fault of a part.
    pub fn new(part: &'static str, text: impl Into<String>) -> Self {
        Fault { part, text: text.into(), sought: None }
    }

    /// A fault of a part whose word is unknown.
    pub fn unknown(part: &'static str, text: impl Into<String>, sought: Sought) -> Self {
        Fault { sought: Some(sought), ..Fault::new(part, text) }
    }
}

/// A fault of a file, one of its lines, or a part of a line. Shown as `FILE (line N): TEXT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// The file, by the path that was read.
    pub file: Arc<str>,
    /// The line, counted from 1; `None` for a fault of the file as a whole.
    pub line: Option<u32>,
    /// How much it matters.
    pub severity: Severity,
    /// What follows the place: `: TEXT`, or ` - errors in …` and an indented line for each fault.
    pub text: String,
    /// The places in the line that it is about; none if it is about the whole line.
    pub marks: Vec<Mark>,
}

impl Report {
    /// A fault of one line.
    pub fn line(file: &Arc<str>, line: u32, text: impl fmt::Display) -> Self {
        Report { line: Some(line), ..Report::file(file, text) }
    }

    /// Something about one line that works, and is perhaps not what was meant.
    pub fn warning(file: &Arc<str>, line: u32, text: impl fmt::Display) -> Self {
        Report { severity: Severity::Warning, ..Report::line(file, line, text) }
    }

    /// A fault of a file as a whole.
    pub fn file(file: &Arc<str>, text: impl fmt::Display) -> Self {
        let (file, text) = (file.clone(), format!(": {text}"));
        Report { file, line: None, severity: Severity::Error, text, marks: Vec::new() }
    }

    /// A line that parses but whose parts have faults; `at` tells where a part stands.
    pub fn parts(
        file: &Arc<str>,
        line: u32,
        what: impl fmt::Display,
        faults: Vec<Fault>,
        at: impl Fn(&str) -> Span,
    ) -> Self {
        let mut report = Report::line(file, line, "");
        report.text = format!(" - errors in {what}");
        for Fault { part, text, sought } in faults {
            report.text += &format!("\n  {part}: {text}");
            report.marks.push(Mark { span: at(part), label: text, sought });
        }
        report
    }

    /// The report with the one place in the line that it is about.
    #[must_use]
    pub fn at(mut self, span: Span, sought: Option<Sought>) -> Self {
        self.marks = vec![Mark { span, label: String::new(), sought }];
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        f.write_str(&self.text)
    }
}
