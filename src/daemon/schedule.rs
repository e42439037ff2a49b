//! The schedule of the updater.
use super::trials::Trials;
use crate::pmxcfs::Reader;
use crate::system::bridge_filtering::BridgeFiltering;
use crate::system::waker::Waker;
use crate::system::worker_process::timeout;
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Interval of regular cycles, which read the configuration and compare the live rules.
const CYCLE: Duration = Duration::from_secs(10);
/// Interval of polling with `stat` on file systems where not every change causes an event, such as writes by other nodes.
/// The kernel caches the `stat` of a pmxcfs file for up to one second; slightly more than half of that detects a change
/// early.
const STAT_INTERVAL: Duration = Duration::from_millis(520);
/// Minimum time between the parts of a full reading of the live rules.
const READING_PAUSE: Duration = Duration::from_secs(1);
/// Minimum time between two reads; after a read between cycles twice its duration, if that is longer.
const PAUSE: Duration = Duration::from_millis(50);

/// Interval for checking whether bridged packets are still filtered, if the settings cannot be watched.
const BRIDGE_FILTERING: Duration = Duration::from_millis(900);
/// The same interval if they are watched: writes through another instance of procfs cause no event.
const WATCHED_BRIDGE_FILTERING: Duration = Duration::from_secs(5);

/// The reason why the updater was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// There is an order to end.
    Order,
    /// A file was written, or a change has to be confirmed: read, and update if something has changed.
    Changes,
    /// The regular cycle: read, compare with the kernel, apply.
    Cycle,
    /// Read the next part of a full reading.
    ContinueReading,
    /// A trial may have begun or ended.
    Trial,
    /// Another program has disabled the filtering of bridged packets; it has to be enabled again.
    BridgeFiltering,
}

/// The times of the updater.
#[derive(Debug)]
pub struct Schedule {
    cycle: Instant,
    stat: Instant,
    /// The earliest time of the next read, so that a program that writes continuously does not keep the updater busy.
    rest: Instant,
    /// The earliest time of a read that confirms a pending change.
    confirm: Instant,
    /// When a part of a full reading was last due.
    read: Instant,
    /// When to check whether bridged packets are filtered.
    bridge_filtering: Instant,
    /// Whether the settings have been written since the last check.
    settings_written: bool,
}

impl Schedule {
    /// A schedule with the first cycle due now.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Schedule {
            cycle: now,
            stat: now,
            rest: now,
            confirm: now,
            read: now,
            bridge_filtering: now,
            settings_written: false,
        }
    }

    /// Records a read with its duration, and whether it was part of a regular cycle.
    pub fn record_read(&mut self, took: Duration, full: bool) {
        let now = Instant::now();
        // the read may have missed writes during it
        self.stat = now + STAT_INTERVAL.saturating_sub(took).max(PAUSE);
        let pause = if full { Duration::ZERO } else { (2 * took).min(STAT_INTERVAL) };
        (self.rest, self.confirm) = (now + pause.max(PAUSE), now + pause);
        if full {
            self.cycle = now + CYCLE;
        }
    }

    /// Schedules the next cycle in `after` at the latest.
    pub fn schedule_within(&mut self, after: Duration) {
        // a time after the next regular cycle has no effect
        self.cycle = self.cycle.min(Instant::now() + after.min(CYCLE));
    }

    /// Waits until something is due; the next part of a full reading is due at `full`. `bridge_filtering` is watched if it has
    /// to be enabled.
    pub fn wait(
        &mut self,
        waker: &Waker,
        reader: &mut Reader,
        trials: &Trials,
        full: Option<Instant>,
        mut bridge_filtering: Option<&mut BridgeFiltering>,
    ) -> WakeReason {
        let (mut written, mut trial) = (false, false);
        let confirm = reader.due().map(|due| self.confirm.max(Instant::now() + due));
        let read_on = full.map(|full| full.max(self.read + READING_PAUSE));
        let mut readable = true;
        loop {
            if std::mem::take(&mut readable) || trials.due().is_some_and(|due| Instant::now() >= due) {
                written |= reader.written();
                trial |= trials.has_event();
            }
            let now = Instant::now();
            if now >= self.cycle {
                return WakeReason::Cycle;
            }
            if bridge_filtering.as_mut().is_some_and(|settings| self.is_switched_off(settings, now)) {
                return WakeReason::BridgeFiltering;
            }
            if now >= self.rest && trial {
                return WakeReason::Trial;
            }
            if (now >= self.rest && written) || confirm.is_some_and(|confirm| now >= confirm) {
                return WakeReason::Changes;
            }
            if read_on.is_some_and(|read_on| now >= read_on) {
                self.read = now;
                return WakeReason::ContinueReading;
            }
            let stat = (!reader.is_watched()).then_some(self.stat);
            if stat.is_some_and(|stat| now >= stat) {
                written |= reader.changed();
                readable = true;
                // poll a slow file system less often
                self.stat = now + STAT_INTERVAL.max(2 * now.elapsed());
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
            let of_files = fds.len();
            if let Some(settings) = bridge_filtering.as_ref().filter(|_| !self.settings_written) {
                fds.extend(settings.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            }
            // an interrupted poll (EINTR) only repeats the loop
            let _ = poll(&mut fds, timeout(until.saturating_duration_since(now)));
            if fds[0].any().unwrap_or(false) {
                return WakeReason::Order;
            }
            let is_readable = |fds: &[PollFd<'_>]| fds.iter().any(|fd| fd.any().unwrap_or(true));
            readable = is_readable(&fds[1..of_files]);
            if is_readable(&fds[of_files..]) {
                self.settings_written = true;
                // a program that writes them continuously does not keep the updater busy
                self.bridge_filtering = self.bridge_filtering.min(Instant::now() + PAUSE);
            }
        }
    }

    /// Whether another program has disabled the filtering of bridged packets; `false` before the next check is due.
    fn is_switched_off(&mut self, settings: &mut BridgeFiltering, now: Instant) -> bool {
        if now < self.bridge_filtering {
            return false;
        }
        let is_watched = settings.descriptor().is_some();
        self.bridge_filtering = now + if is_watched { WATCHED_BRIDGE_FILTERING } else { BRIDGE_FILTERING };
        self.settings_written = false;
        settings.is_off()
    }
}
