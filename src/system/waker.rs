//! Waking a thread that waits in poll(2).
use anyhow::{Context, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};

/// An eventfd(2) that one thread signals and another polls. It stays signalled until it is cleared.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// A waker that is not signalled.
    ///
    /// # Errors
    /// When the descriptor cannot be opened.
    pub fn new() -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Waker(EventFd::from_value_and_flags(0, flags).context("cannot open an event descriptor")?))
    }

    /// Signals it and wakes the waiting thread.
    pub fn wake(&self) {
        // fails only at 2^64 - 1 signals, when it is signalled anyway
        let _ = self.0.write(1);
    }

    /// Clears the signal.
    pub fn clear(&self) {
        // fails only when it is not signalled
        let _ = self.0.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
