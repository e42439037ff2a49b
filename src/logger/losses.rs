//! Counts what was not logged, and says when to tell of it.
use std::time::{Duration, Instant};

/// Between two reports: a flood loses again and again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lost entries that nobody has been told of yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// The number that the next packet should have: the kernel counts from 0 when the group is bound.
    expected: u32,
    unreported: u64,
    overflowed: bool,
    /// When to tell, or to try again; only set while something is owed.
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Losses {
    /// Takes note of a packet's number (`NFULNL_CFG_F_SEQ`). The numbers that were passed over are lost packets.
    pub fn packet(&mut self, sequence: Option<u32>) {
        let Some(sequence) = sequence else { return };
        let gap = sequence.wrapping_sub(self.expected);
        // a number from behind is none that the kernel gives; it must not count as four billion lost packets
        if gap > 0 && gap <= u32::MAX / 2 {
            self.add(u64::from(gap));
        }
        self.expected = sequence.wrapping_add(1);
    }

    /// Adds entries that are known to be lost.
    pub fn add(&mut self, entries: u64) {
        self.unreported += entries;
        if entries > 0 {
            self.owe();
        }
    }

    /// Takes note that the kernel's queue overflowed. How many packets that cost shows in the next one's number.
    pub fn overflow(&mut self) {
        self.overflowed = true;
        self.owe();
    }

    /// Sets the timer, if it is not set, one interval after the last report at the earliest.
    pub fn owe(&mut self) {
        let now = Instant::now();
        self.due.get_or_insert_with(|| self.last.map_or(now, |last| (last + INTERVAL).max(now)));
    }

    /// When something has to be told, if anything.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Entries to report now.
    pub fn unreported(&self) -> u64 {
        self.unreported
    }

    /// Whether the kernel's queue overflowed since the last report and no packet has yet shown what that cost.
    pub fn overflow_of_unknown_size(&self) -> bool {
        self.overflowed && self.unreported == 0
    }

    /// All was told: the timer is off.
    pub fn reported(&mut self) {
        *self = Losses { expected: self.expected, last: Some(Instant::now()), ..Losses::default() };
    }

    /// Telling failed: it is tried again after an interval.
    pub fn postpone(&mut self) {
        self.due = Some(Instant::now() + INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_and_the_number_wraps() {
        let mut losses = Losses::default();
        for sequence in [0, 1, 5] {
            losses.packet(Some(sequence));
        }
        losses.packet(None);
        assert_eq!(losses.unreported(), 3);
        losses.reported();
        assert_eq!((losses.unreported(), losses.due()), (0, None));
        losses.expected = u32::MAX;
        losses.packet(Some(2));
        assert_eq!(losses.unreported(), 3);
        losses.packet(Some(1));
        assert_eq!(losses.unreported(), 3, "a number from behind is no loss");
    }

    #[test]
    fn nothing_is_due_without_a_loss_and_reports_keep_their_distance() {
        let mut losses = Losses::default();
        losses.packet(Some(0));
        losses.add(0);
        assert_eq!(losses.due(), None);
        losses.add(1);
        assert!(losses.due().unwrap() <= Instant::now(), "the first is told at once");
        losses.reported();
        let told = Instant::now();
        losses.overflow();
        assert!(losses.overflow_of_unknown_size());
        assert!(losses.due().unwrap() > told);
        losses.add(1);
        assert!(!losses.overflow_of_unknown_size());
    }
}
