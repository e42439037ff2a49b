//! Traces of nftables in the log. The lines of a second are limited, so that a trace of many packets does not displace the lines
//! of dropped packets.
use super::dropped::DroppedEntries;
use super::local_host::LocalHost;
use super::netfilter_events::read_events;
use crate::nflog::lines::LogLines;
use crate::nflog::trace::TraceStep;
use crate::system::netlink::NetfilterEvents;
use anyhow::Result;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Maximum number of steps that are written in a second.
const MAX_STEPS: u32 = 1000;

/// The subscription to traces.
pub(super) struct Traces {
    events: NetfilterEvents,
    limit: StepLimit,
    /// Steps that were not written.
    skipped: DroppedEntries,
}

impl Traces {
    /// Subscribes to the traces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn subscribe() -> Result<Self> {
        let events = NetfilterEvents::of_traces()?;
        Ok(Traces { events, limit: StepLimit::default(), skipped: DroppedEntries::default() })
    }

    /// Formats the steps in up to this many datagrams as lines; false if there may be more.
    ///
    /// # Errors
    /// When reading from the socket fails.
    pub fn read(&mut self, datagrams: usize, lines: &mut LogLines<LocalHost>, out: &mut String) -> Result<bool> {
        let mut unwritten = 0;
        let done = read_events(&mut self.events, datagrams, &mut self.skipped, |message| {
            let Some(step) = TraceStep::decode(&message) else { return };
            let vmid = lines.guest_of_step(&step);
            if self.limit.allows(Instant::now()) {
                lines.push_trace(vmid, &step, out);
            } else {
                unwritten += 1;
            }
        });
        self.skipped.add(unwritten);
        done
    }

    /// When the next report of skipped steps is due, if one is scheduled.
    pub fn due(&self) -> Option<Instant> {
        self.skipped.due()
    }

    /// The report of the steps that were skipped since the last one.
    pub fn report(&mut self) -> Option<String> {
        let steps = self.skipped.unreported();
        self.skipped.reported();
        (steps > 0).then(|| format!("skipped {steps} trace steps (more than {MAX_STEPS} in a second, or queue full)"))
    }

    /// Unsubscribes; steps already queued can still be read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn leave(&self) -> Result<()> {
        self.events.leave()
    }
}

impl AsFd for Traces {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// Counts the steps of the current second, which begins with its first step.
#[derive(Debug, Default)]
struct StepLimit {
    began: Option<Instant>,
    steps: u32,
}

impl StepLimit {
    /// Whether one more step may be written now.
    fn allows(&mut self, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            *self = StepLimit { began: Some(now), steps: 0 };
        }
        self.steps = self.steps.saturating_add(1);
        self.steps <= MAX_STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_thousand_steps_are_written_in_a_second() {
        let mut limit = StepLimit::default();
        let start = Instant::now();
        for second in 0..3 {
            let allowed = |limit: &mut StepLimit, milliseconds| {
                let now = start + Duration::from_secs(second) + Duration::from_millis(milliseconds);
                (0..700).filter(|_| limit.allows(now)).count()
            };
            assert_eq!([allowed(&mut limit, 0), allowed(&mut limit, 500), allowed(&mut limit, 999)], [700, 300, 0]);
        }
    }
}
