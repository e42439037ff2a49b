//! Output of findings as text, with carets below the line, and as JSON.
use crate::cli::style::{BAD, CHANGE, PLAIN, paint};
use crate::lint::Diagnostic;
use crate::model::{Mark, Severity};
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use anyhow::Result;
use serde::Serialize;
use std::ops::Range;

/// All findings, each with its line, and a summary.
pub fn text(findings: &[Diagnostic]) -> String {
    let renderer = Renderer::styled();
    let mut text = String::new();
    for finding in findings {
        text += &renderer.render(&[group(finding, &printable(&finding.line))]);
        text += "\n\n";
    }
    let count = |severity| findings.iter().filter(|finding| finding.report.severity == severity).count();
    let plural = |count: usize, word: &str, style| {
        paint(
            if count > 0 { style } else { PLAIN },
            format_args!("{count} {word}{}", if count == 1 { "" } else { "s" }),
        )
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    text + &format!("{}, {}\n", plural(errors, "error", BAD), plural(warnings, "warning", CHANGE))
}

/// Replaces each control character beyond ASCII by a dot with the same length in bytes; the renderer replaces ASCII ones.
fn printable(line: &str) -> String {
    line.replace(|one: char| ('\u{80}'..='\u{9f}').contains(&one), "\u{b7}")
}

fn group<'a>(finding: &'a Diagnostic, line: &'a str) -> Group<'a> {
    let report = &finding.report;
    let level = if report.severity == Severity::Error { Level::ERROR } else { Level::WARNING };
    let group = level.primary_title(title(&report.text));
    let Some(number) = report.line else {
        return group.element(annotate_snippets::Origin::path(&*report.file));
    };
    let mut snippet = Snippet::source(line).path(&*report.file).line_start(usize::try_from(number).unwrap_or(1));
    for (mark, help) in report.marks.iter().zip(&finding.help) {
        snippet = snippet.annotation(annotation(mark, help.as_deref()));
    }
    if report.marks.is_empty() {
        let start = line.len() - line.trim_start().len();
        snippet = snippet.annotation(AnnotationKind::Primary.span(start..line.trim_end().len().max(start)));
    }
    group.element(snippet)
}

/// The text of a report for the whole line; the texts for its parts are shown at the carets.
fn title(text: &str) -> &str {
    let text = text.strip_prefix(": ").or_else(|| text.strip_prefix(" - ")).unwrap_or(text);
    text.split('\n').next().unwrap_or(text)
}

fn annotation<'a>(mark: &'a Mark, help: Option<&str>) -> Annotation<'a> {
    let label = [Some(mark.label.as_str()).filter(|label| !label.is_empty()), help];
    let label = label.into_iter().flatten().collect::<Vec<_>>().join(": ");
    AnnotationKind::Primary.span(mark.span.start..mark.span.end).label(label)
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    file: &'a str,
    line: Option<u32>,
    severity: &'static str,
    text: &'a str,
    places: Vec<JsonPlace<'a>>,
}

/// Columns are characters, counted from 1; `end` is the column after the last one.
#[derive(Serialize)]
struct JsonPlace<'a> {
    column: usize,
    end: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

/// All findings as a JSON array, each with the keys `file`, `line`, `severity`, `text` and `places`.
///
/// # Errors
/// Never, as all keys are strings.
pub fn json(findings: &[Diagnostic]) -> Result<String> {
    let entries: Vec<_> = findings.iter().map(entry).collect();
    Ok(serde_json::to_string_pretty(&entries)? + "\n")
}

fn entry(finding: &Diagnostic) -> JsonEntry<'_> {
    let report = &finding.report;
    let places = report.marks.iter().zip(&finding.help).map(|(mark, help)| {
        let Range { start: column, end } = columns(&finding.line, mark.span.start..mark.span.end);
        JsonPlace { column, end, text: &mark.label, help: help.as_deref() }
    });
    JsonEntry {
        file: &report.file,
        line: report.line,
        severity: if report.severity == Severity::Error { "error" } else { "warning" },
        text: title(&report.text),
        places: places.collect(),
    }
}

fn columns(line: &str, bytes: Range<usize>) -> Range<usize> {
    let column = |byte: usize| line.char_indices().take_while(|(at, _)| *at < byte).count() + 1;
    column(bytes.start)..column(bytes.end)
}
