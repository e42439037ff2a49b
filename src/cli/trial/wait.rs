//! Waits for the end of a trial: the countdown, the keys, and the result on a terminal.
use super::{confirm, revert, seconds, trial_state};
use crate::cli::{Context, output};
use crate::system::signals::Signals;
use crate::trial::{Trial, TrialEnd, TrialStore};
use anyhow::{Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long to wait after the deadline for the daemon to end a trial, in nanoseconds.
const END_TIMEOUT: u64 = 60_000_000_000;
/// The interval of the countdown.
const COUNTDOWN: Duration = Duration::from_millis(250);

/// The state while waiting for the end of a trial.
pub(super) struct TrialWait<'a> {
    pub context: &'a Context,
    pub store: &'a TrialStore,
    pub trial: &'a Trial,
    /// Whether to show the countdown.
    pub people: bool,
    /// Whether to read keys.
    pub listens: bool,
}

impl TrialWait<'_> {
    pub fn for_end(&mut self) -> Result<TrialEnd> {
        let signals = Signals::block(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?;
        let watch = self.store.watch().ok();
        loop {
            if let Some(end) = trial_state::of(self.context, self.store, self.trial) {
                return Ok(end);
            }
            self.count_down()?;
            let stdin = io::stdin();
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            if self.listens {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            fds.extend(watch.as_ref().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
            // an interrupted poll (EINTR) only repeats the loop
            let _ = poll(&mut fds, PollTimeout::try_from(COUNTDOWN).unwrap_or(PollTimeout::ZERO));
            let key = self.listens && fds[1].any().unwrap_or(false);
            let _ = watch.as_ref().map(crate::trial::Watch::has_event);
            match signals.take() {
                Some(Signal::SIGINT) => {
                    revert::end_trial(self.context, self.store, self.trial)?;
                    return Ok(TrialEnd::Reverted);
                }
                // the trial may have closed the terminal; it can still be confirmed in another session
                Some(_) => bail!("'pve-firewall try' was terminated; the trial continues until its deadline"),
                None => {}
            }
            if key {
                self.read_key();
            }
        }
    }

    fn read_key(&mut self) {
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            // the terminal was closed
            Ok(0) | Err(_) => self.listens = false,
            Ok(_) => {
                if let Err(error) = confirm::confirm(self.context) {
                    output::error(format!("{error:#}").replace('\n', " "));
                }
            }
        }
    }

    fn count_down(&self) -> Result<()> {
        let clock = TrialStore::clock()?;
        if clock.now > self.trial.deadline.saturating_add(END_TIMEOUT) {
            bail!("the daemon does not end the trial; run 'pve-firewall start', or 'pve-firewall status --verbose'");
        }
        if self.people {
            let left = seconds(self.trial.left(&clock));
            let names = self.trial.names();
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r{names}: {left} s left. Enter confirms, Ctrl-C reverts \u{1b}[K");
            let _ = stderr.flush();
        }
        Ok(())
    }

    pub fn print_end(&self, end: &TrialEnd) {
        if self.people {
            output::note(&format!("\r{}: {end}\u{1b}[K", self.trial.names()));
        }
    }
}
