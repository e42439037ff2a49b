//! The schedule of the updater.
use super::trials::Trials;
use crate::pmxcfs::Reader;
use crate::system::bridge_filtering::BridgeFiltering;
use crate::system::waker::Waker;
use crate::system::worker::timeout;
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Interval of regular cycles, which read the configuration and compare the live rules.
const CYCLE: Duration = Duration::from_secs(10);
/// Interval of polling with `stat` on file systems where not every change causes an event, such as writes by other nodes.
/// The kernel caches the `stat` of a pmxcfs file for up to one second; slightly more than half of that detects a change
/// early.
const STAT: Duration = Duration::from_millis(520);
/// Minimum time between the parts of a full reading of the live rules.
const READ_ON: Duration = Duration::from_secs(1);
/// Minimum time between two reads; after a read between cycles twice its duration, if that is longer.
const PAUSE: Duration = Duration::from_millis(50);

/// Interval of looking whether bridged packets are still filtered, of which the kernel reports no change.
const BRIDGE_FILTERING: Duration = Duration::from_millis(900);

/// The reason for waking the updater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is an order to end.
    Order,
    /// A file was written, or a change has to be confirmed: read, and update if something has changed.
    Changes,
    /// The regular cycle: read, compare with the kernel, apply.
    Cycle,
    /// Read the next part of a full reading.
    ReadOn,
    /// A trial may have begun or ended.
    Trial,
    /// Another program has switched off the filtering of bridged packets, which is to be switched on again.
    BridgeFiltering,
}

/// The times of the updater.
#[derive(Debug)]
pub struct Schedule {
    cycle: Instant,
    stat: Instant,
    /// The earliest time of the next read, so that a program that writes continuously does not keep the updater busy.
    rest: Instant,
    /// The earliest time of a read that confirms what another has shown.
    confirm: Instant,
    /// When a part of a full reading was last due.
    read: Instant,
    /// When to look whether bridged packets are filtered.
    bridge_filtering: Instant,
}

impl Schedule {
    /// A schedule with the first cycle due now.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Schedule { cycle: now, stat: now, rest: now, confirm: now, read: now, bridge_filtering: now }
    }

    /// Records a read with its duration, and whether it was part of a regular cycle.
    pub fn passed(&mut self, took: Duration, full: bool) {
        let now = Instant::now();
        // the read may have missed writes during it
        self.stat = now + STAT.saturating_sub(took).max(PAUSE);
        let pause = if full { Duration::ZERO } else { (2 * took).min(STAT) };
        (self.rest, self.confirm) = (now + pause.max(PAUSE), now + pause);
        if full {
            self.cycle = now + CYCLE;
        }
    }

    /// Schedules the next cycle in `after` at the latest.
    pub fn hurry(&mut self, after: Duration) {
        // a time after the next regular cycle has no effect
        self.cycle = self.cycle.min(Instant::now() + after.min(CYCLE));
    }

    /// Waits until something is due; the next part of a full reading is due at `full`.
    /// `bridge_filtering` is watched, if it is to be on.
    pub fn wait(
        &mut self,
        waker: &Waker,
        reader: &mut Reader,
        trials: &Trials,
        full: Option<Instant>,
        mut bridge_filtering: Option<&mut BridgeFiltering>,
    ) -> Why {
        let (mut written, mut trial) = (false, false);
        let confirm = reader.due().map(|due| self.confirm.max(Instant::now() + due));
        let read_on = full.map(|full| full.max(self.read + READ_ON));
        let mut readable = true;
        loop {
            // the settings are checked every second, so this must be cheap
            if std::mem::take(&mut readable) || trials.due().is_some_and(|due| Instant::now() >= due) {
                written |= reader.written();
                trial |= trials.moved();
            }
            let now = Instant::now();
            if now >= self.cycle {
                return Why::Cycle;
            }
            if let Some(settings) = bridge_filtering.as_mut().filter(|_| now >= self.bridge_filtering) {
                self.bridge_filtering = now + BRIDGE_FILTERING;
                if settings.is_off() {
                    return Why::BridgeFiltering;
                }
            }
            if now >= self.rest && trial {
                return Why::Trial;
            }
            if (now >= self.rest && written) || confirm.is_some_and(|confirm| now >= confirm) {
                return Why::Changes;
            }
            if read_on.is_some_and(|read_on| now >= read_on) {
                self.read = now;
                return Why::ReadOn;
            }
            let stat = (!reader.is_watched()).then_some(self.stat);
            if stat.is_some_and(|stat| now >= stat) {
                written |= reader.changed();
                readable = true;
                // poll a slow file system less often
                self.stat = now + STAT.max(2 * now.elapsed());
                continue;
            }
            let look = [confirm, written.then_some(self.rest)].into_iter().flatten().min();
            let trial_due = if trial { Some(self.rest) } else { trials.due() };
            let watch = bridge_filtering.is_some().then_some(self.bridge_filtering);
            let until = [look, read_on, stat, trial_due, watch].into_iter().flatten().fold(self.cycle, Instant::min);
            let mut fds = vec![PollFd::new(waker.as_fd(), PollFlags::POLLIN)];
            if !trial {
                fds.extend(trials.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            }
            if !written {
                fds.extend(reader.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            }
            // an interrupted poll (EINTR) only repeats the loop
            let _ = poll(&mut fds, timeout(until.saturating_duration_since(now)));
            if fds[0].any().unwrap_or(false) {
                return Why::Order;
            }
            readable = fds[1..].iter().any(|fd| fd.any().unwrap_or(true));
        }
    }
}
