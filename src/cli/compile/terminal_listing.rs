//! The listing for a terminal: aligned, in colour, with the origin of each rule.
use crate::cli::style::{BAD, CHANGE, FAINT, GOOD, PLAIN, TITLE, paint, remarked};
use crate::listing::{Block, Entry, Listing, PlannedAction};
use anstyle::Style;

/// The listing with the columns of each block aligned.
pub fn text(listing: &Listing) -> String {
    let blocks: Vec<String> = listing.blocks.iter().map(block).collect();
    let style = if listing.changes { CHANGE } else { GOOD };
    let summary: String = listing.summary().lines().map(|line| paint(style, line) + "\n").collect();
    format!("{}\n{summary}", blocks.join("\n"))
}

fn block(block: &Block) -> String {
    let mut text = paint(TITLE, &block.title) + "\n";
    let width = block.entries.iter().map(|entry| entry.name.len()).max().unwrap_or_default();
    for Entry { action, name, signature, lines } in &block.entries {
        // every action has six letters
        text += &format!("{} {name:width$}  {}\n", paint(style(*action), action), paint(FAINT, signature));
        for (line, origin) in lines {
            text += &remarked(PLAIN, &format!("       {line}"), Some(origin));
        }
    }
    text
}

fn style(action: PlannedAction) -> Style {
    match action {
        PlannedAction::Create => GOOD,
        PlannedAction::Update => CHANGE,
        PlannedAction::Delete => BAD,
        PlannedAction::Exists | PlannedAction::Ignore => FAINT,
    }
}
