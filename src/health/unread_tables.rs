//! Tables of nftables that were not read, or not as a whole.
use super::{Evidence, Finding, MOST};

/// A finding for each table that was not read, or not as a whole.
pub(super) fn not_read(evidence: &Evidence) -> impl Iterator<Item = Finding> {
    let finding = |(table, why): &(String, String)| Finding::NotJudged { table: table.clone(), why: why.clone() };
    evidence.unread.iter().map(finding).take(MOST)
}
