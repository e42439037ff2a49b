//! Reports of errors and warnings in files.
use super::lookup::Lookup;
use std::fmt;
use std::sync::Arc;

/// The severity of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The line is ignored.
    Error,
    /// The line is valid but may be a mistake.
    Warning,
}

/// A part of a line, in bytes from its beginning, including leading blanks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte, counted from 0.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

/// The part of a line that a report refers to. It is not part of the report's text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The part.
    pub span: Span,
    /// The message for this part, if the report has several.
    pub label: String,
    /// The list in which the word was looked up.
    pub lookup: Option<Lookup>,
}

/// An error in a part of a rule or entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartError {
    /// The part's name.
    pub part: &'static str,
    /// The message.
    pub text: String,
    /// The list in which its word was looked up.
    pub lookup: Option<Lookup>,
}

impl PartError {
    /// An error in a part.
    pub fn new(part: &'static str, text: impl Into<String>) -> Self {
        PartError { part, text: text.into(), lookup: None }
    }

    /// An unknown word in a part.
    pub fn unknown(part: &'static str, text: impl Into<String>, lookup: Lookup) -> Self {
        PartError { lookup: Some(lookup), ..PartError::new(part, text) }
    }
}

/// An error or warning about a file, one of its lines, or parts of a line. Shown as `FILE (line N): TEXT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// The file, by the path that was read.
    pub file: Arc<str>,
    /// The line, counted from 1; `None` for the file as a whole.
    pub line: Option<u32>,
    /// The severity.
    pub severity: Severity,
    /// The text after file and line: `: TEXT`, or ` - errors in …` and an indented line for each error.
    pub text: String,
    /// The parts of the line that it refers to; none for the whole line.
    pub marks: Vec<Mark>,
}

impl Report {
    /// An error in a line.
    pub fn line(file: &Arc<str>, line: u32, text: impl fmt::Display) -> Self {
        Report { line: Some(line), ..Report::file(file, text) }
    }

    /// A warning about a valid line that may be a mistake.
    pub fn warning(file: &Arc<str>, line: u32, text: impl fmt::Display) -> Self {
        Report { severity: Severity::Warning, ..Report::line(file, line, text) }
    }

    /// An error of a file as a whole.
    pub fn file(file: &Arc<str>, text: impl fmt::Display) -> Self {
        let (file, text) = (file.clone(), format!(": {text}"));
        Report { file, line: None, severity: Severity::Error, text, marks: Vec::new() }
    }

    /// A line with errors in its parts; `at` returns the position of a part.
    pub fn parts(
        file: &Arc<str>,
        line: u32,
        what: impl fmt::Display,
        errors: Vec<PartError>,
        at: impl Fn(&str) -> Span,
    ) -> Self {
        let mut report = Report::line(file, line, "");
        report.text = format!(" - errors in {what}");
        for PartError { part, text, lookup } in errors {
            report.text += &format!("\n  {part}: {text}");
            report.marks.push(Mark { span: at(part), label: text, lookup });
        }
        report
    }

    /// Sets the part of the line that the report refers to.
    #[must_use]
    pub fn at(mut self, span: Span, lookup: Option<Lookup>) -> Self {
        self.marks = vec![Mark { span, label: String::new(), lookup }];
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
