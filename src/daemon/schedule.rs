//! When the updater does what.
use super::trials::Trials;
use crate::pmxcfs::Reader;
use crate::system::waker::Waker;
use crate::system::worker::timeout;
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Everything is read anew and compared with the kernel this often.
const CYCLE: Duration = Duration::from_secs(10);
/// `stat` looks for changes this often where not every change is told: writes of other nodes raise no event. The kernel
/// shows the `stat` of a file of pmxcfs for up to a second after it was asked for: half of that, and a bit, finds a new one as
/// soon as can be.
const STAT: Duration = Duration::from_millis(520);
/// The parts of a full reading of the kernel are read at least this far apart.
const READ_ON: Duration = Duration::from_secs(1);
/// The shortest time between the end of a pass and the next one; after a pass between cycles twice the time that it took, if
/// that is longer.
const PAUSE: Duration = Duration::from_millis(50);

/// Why the updater is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is an order to end.
    Order,
    /// Something was written, or a change is to be confirmed: read, and act if it made a difference.
    Look,
    /// The regular cycle: read, compare with the kernel, apply.
    Cycle,
    /// A full reading of the kernel goes on by one part.
    ReadOn,
    /// A trial may have begun or ended: act by it.
    Trial,
}

/// The times of the updater.
#[derive(Debug)]
pub struct Schedule {
    cycle: Instant,
    stat: Instant,
    /// No pass before this: a program that writes all the time must not keep this one busy.
    rest: Instant,
    /// When a part of a full reading was last due.
    read: Instant,
}

impl Schedule {
    /// The first cycle is due now.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Schedule { cycle: now, stat: now, rest: now, read: now }
    }

    /// Takes note of a pass that took so long, and was part of a full cycle or not.
    pub fn passed(&mut self, took: Duration, full: bool) {
        let now = Instant::now();
        // what was written during a pass may have been missed by it
        self.stat = now + STAT.saturating_sub(took).max(PAUSE);
        if full {
            self.rest = now + PAUSE;
            self.cycle = now + CYCLE;
        } else {
            self.rest = now + PAUSE.max(2 * took).min(STAT);
        }
    }

    /// Moves the next cycle forward, to `after` from now at the latest.
    pub fn hurry(&mut self, after: Duration) {
        // later than the next regular cycle changes nothing, however much later
        self.cycle = self.cycle.min(Instant::now() + after.min(CYCLE));
    }

    /// Waits until there is something to do; a full reading of the kernel is due to begin, or to go on, at `full`.
    pub fn wait(&mut self, waker: &Waker, reader: &mut Reader, trials: &Trials, full: Option<Instant>) -> Why {
        let (mut written, mut trial) = (false, false);
        let confirm = reader.due().map(|due| Instant::now() + due);
        let read_on = full.map(|full| full.max(self.read + READ_ON));
        loop {
            written |= reader.written();
            trial |= trials.moved();
            let now = Instant::now();
            if now >= self.cycle {
                return Why::Cycle;
            }
            if now >= self.rest && trial {
                return Why::Trial;
            }
            if now >= self.rest && (written || confirm.is_some_and(|confirm| now >= confirm)) {
                return Why::Look;
            }
            if read_on.is_some_and(|read_on| now >= read_on) {
                self.read = now;
                return Why::ReadOn;
            }
            let stat = (!reader.is_watched()).then_some(self.stat);
            if stat.is_some_and(|stat| now >= stat) {
                written |= reader.changed();
                // a slow file system is not asked all the time
                self.stat = now + STAT.max(2 * now.elapsed());
                continue;
            }
            let look = if written { Some(self.rest) } else { confirm.map(|confirm| confirm.max(self.rest)) };
            let trial_due = if trial { Some(self.rest) } else { trials.due() };
            let until = [look, read_on, stat, trial_due].into_iter().flatten().fold(self.cycle, Instant::min);
            let mut fds = vec![PollFd::new(waker.as_fd(), PollFlags::POLLIN)];
            if !trial {
                fds.extend(trials.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            }
            if !written {
                fds.extend(reader.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            }
            // a failure (EINTR) is as a wake-up for nothing
            let _ = poll(&mut fds, timeout(until.saturating_duration_since(now)));
            if fds[0].any().unwrap_or(false) {
                return Why::Order;
            }
        }
    }
}
