//! Reports of what is wrong in a file.
use std::fmt;
use std::sync::Arc;

/// How much a report matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is lost: the line generates nothing.
    Error,
    /// It works, and is perhaps not what was meant.
    Warning,
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
}

impl Report {
    /// A fault of one line.
    pub fn line(file: &Arc<str>, line: u32, text: impl fmt::Display) -> Self {
        Report { file: file.clone(), line: Some(line), severity: Severity::Error, text: format!(": {text}") }
    }

    /// Something about one line that works, and is perhaps not what was meant.
    pub fn warning(file: &Arc<str>, line: u32, text: impl fmt::Display) -> Self {
        Report { severity: Severity::Warning, ..Report::line(file, line, text) }
    }

    /// A fault of a file as a whole.
    pub fn file(file: &Arc<str>, text: impl fmt::Display) -> Self {
        Report { file: file.clone(), line: None, severity: Severity::Error, text: format!(": {text}") }
    }

    /// A line that parses but whose parts have faults, each the name of a part and what is wrong with it.
    pub fn parts(file: &Arc<str>, line: u32, what: impl fmt::Display, faults: &[(&str, String)]) -> Self {
        let faults: String = faults.iter().map(|(part, fault)| format!("\n  {part}: {fault}")).collect();
        Report {
            file: file.clone(),
            line: Some(line),
            severity: Severity::Error,
            text: format!(" - errors in {what}{faults}"),
        }
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
