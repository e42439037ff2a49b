//! Styles of terminal output.
//!
//! Styles are always written; `output` removes them unless standard output is a terminal with colours.
use anstyle::{AnsiColor, Style};
use std::fmt::Display;

/// Titles.
pub(super) const TITLE: Style = Style::new().bold();
/// Correct, added, accepted.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Changed, pending.
pub(super) const CHANGE: Style = AnsiColor::Yellow.on_default();
/// Wrong, removed, refused.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Details.
pub(super) const FAINT: Style = Style::new().dimmed();
/// Locations in files.
pub(super) const PLACE: Style = AnsiColor::Cyan.on_default();
/// Normal text.
pub(super) const PLAIN: Style = Style::new();

/// The column of comments.
const REMARK_COLUMN: usize = 96;

/// Formats a value in a style.
pub(super) fn paint(style: Style, what: impl Display) -> String {
    if style == PLAIN { what.to_string() } else { format!("{style}{what}{style:#}") }
}

/// A line in a style, with a comment (such as its origin) in a separate column.
pub(super) fn remarked(style: Style, line: &str, remark: Option<impl Display>) -> String {
    let painted = paint(style, line);
    let Some(remark) = remark else { return painted + "\n" };
    let pad = REMARK_COLUMN.saturating_sub(line.chars().count());
    format!("{painted}{:pad$}  {}\n", "", paint(FAINT, format_args!("# {remark}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_aligned_in_one_column() {
        let column = |line: &str| remarked(PLAIN, line, Some("here")).find("\u{1b}[2m# here").unwrap();
        assert_eq!((column("a"), column("-A chain -j DROP")), (98, 98));
        assert_eq!(column(&"x".repeat(100)), 102);
        assert_eq!(remarked(PLAIN, "a", None::<&str>), "a\n");
    }
}
