//! Counts dropped log entries and schedules their reports.
use std::time::{Duration, Instant};

/// Minimum time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// Dropped log entries that have not been reported yet.
#[derive(Debug, Default)]
pub(super) struct DroppedEntries {
    /// The expected sequence number of the next packet: the kernel counts from 0 when the group is bound.
    expected: u32,
    unreported: u64,
    overflowed: bool,
    /// When to report, or to try again; `None` if nothing has to be reported.
    due: Option<Instant>,
    last: Option<Instant>,
}

impl DroppedEntries {
    /// Records a packet's sequence number (`NFULNL_CFG_F_SEQ`). Each skipped number is a dropped packet.
    pub fn packet(&mut self, sequence: Option<u32>) {
        let Some(sequence) = sequence else { return };
        let gap = sequence.wrapping_sub(self.expected);
        // the kernel never sends a smaller number; do not count one as four billion dropped packets
        if gap > 0 && gap <= u32::MAX / 2 {
            self.add(u64::from(gap));
        }
        self.expected = sequence.wrapping_add(1);
    }

    /// Adds dropped entries.
    pub fn add(&mut self, entries: u64) {
        self.unreported += entries;
        if entries > 0 {
            self.schedule();
        }
    }

    /// Records an overflow of the kernel's queue. The next sequence number shows how many packets were dropped.
    pub fn overflow(&mut self) {
        self.overflowed = true;
        self.schedule();
    }

    /// Schedules a report, if none is scheduled, at least one interval after the last.
    pub fn schedule(&mut self) {
        let now = Instant::now();
        self.due.get_or_insert_with(|| self.last.map_or(now, |last| (last + INTERVAL).max(now)));
    }

    /// When the next report is due, if one is scheduled.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Entries to report now.
    pub fn unreported(&self) -> u64 {
        self.unreported
    }

    /// Whether the kernel's queue overflowed since the last report and the number of dropped packets is not known yet.
    pub fn overflow_size_unknown(&self) -> bool {
        self.overflowed && self.unreported == 0
    }

    /// Resets the counters after a report.
    pub fn reported(&mut self) {
        *self = DroppedEntries { expected: self.expected, last: Some(Instant::now()), ..DroppedEntries::default() };
    }

    /// Retries a failed report after one interval.
    pub fn postpone(&mut self) {
        self.due = Some(Instant::now() + INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_and_sequence_numbers_wrap() {
        let mut dropped = DroppedEntries::default();
        for sequence in [0, 1, 5] {
            dropped.packet(Some(sequence));
        }
        dropped.packet(None);
        assert_eq!(dropped.unreported(), 3);
        dropped.reported();
        assert_eq!((dropped.unreported(), dropped.due()), (0, None));
        dropped.expected = u32::MAX;
        dropped.packet(Some(2));
        assert_eq!(dropped.unreported(), 3);
        dropped.packet(Some(1));
        assert_eq!(dropped.unreported(), 3, "a smaller number does not count as dropped packets");
    }

    #[test]
    fn nothing_is_due_without_dropped_entries_and_reports_keep_the_interval() {
        let mut dropped = DroppedEntries::default();
        dropped.packet(Some(0));
        dropped.add(0);
        assert_eq!(dropped.due(), None);
        dropped.add(1);
        assert!(dropped.due().unwrap() <= Instant::now(), "the first is reported at once");
        dropped.reported();
        let reported = Instant::now();
        dropped.overflow();
        assert!(dropped.overflow_size_unknown());
        assert!(dropped.due().unwrap() > reported);
        dropped.add(1);
        assert!(!dropped.overflow_size_unknown());
    }
}
