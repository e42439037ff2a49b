//! Tables of nftables that were not read, or not as a whole.
use super::{Evidence, Finding, MAX_COUNT};

/// A finding for each table that was not read, or not as a whole.
pub(super) fn not_read(evidence: &Evidence) -> impl Iterator<Item = Finding> {
    let finding = |(table, why): &(String, String)| Finding::NotEvaluated { table: table.clone(), why: why.clone() };
    evidence.unread.iter().map(finding).take(MAX_COUNT)
}
