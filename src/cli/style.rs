//! How output looks to people.
//!
//! Styles are always written; `output` takes them away where the reader is no terminal that wants them.
use anstyle::{AnsiColor, Style};
use std::fmt::Display;

/// What heads a part.
pub(super) const TITLE: Style = Style::new().bold();
/// As it should be; what is added, what passes.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Different from what is wanted, for now.
pub(super) const CHANGE: Style = AnsiColor::Yellow.on_default();
/// Not as it should be; what is removed, what is refused.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What may be skipped in reading.
pub(super) const FAINT: Style = Style::new().dimmed();
/// Places in files, between parts.
pub(super) const PLACE: Style = AnsiColor::Cyan.on_default();
/// Everything else.
pub(super) const PLAIN: Style = Style::new();

/// The column that remarks stand in.
const REMARKS: usize = 96;

/// Something in a style.
pub(super) fn paint(style: Style, what: impl Display) -> String {
    if style == PLAIN { what.to_string() } else { format!("{style}{what}{style:#}") }
}

/// A line in a style, with a remark (such as where it comes from) in a column of its own.
pub(super) fn remarked(style: Style, line: &str, remark: Option<impl Display>) -> String {
    let painted = paint(style, line);
    let Some(remark) = remark else { return painted + "\n" };
    let pad = REMARKS.saturating_sub(line.chars().count());
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
