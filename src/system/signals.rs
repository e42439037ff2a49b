//! Signals as a file descriptor, so that they are events among others.
use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// A set of blocked signals that are read one by one.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks these signals in the calling thread (and all threads it makes later) and opens the descriptor.
    ///
    /// # Errors
    /// When the kernel refuses either.
    pub fn block(signals: &[Signal]) -> Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot open a signal descriptor")?;
        Ok(Signals(fd))
    }

    /// The next signal that has arrived, if any; never waits.
    #[must_use]
    pub fn take(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok()??;
        i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
