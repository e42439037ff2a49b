//! Waking a thread that waits in poll(2).
use anyhow::{Context, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};

/// A waker that one thread rings and another waits for. It stays rung until it is hushed.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// A waker that is not rung.
    ///
    /// # Errors
    /// When the kernel has no descriptor to spare.
    pub fn new() -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Waker(EventFd::from_value_and_flags(0, flags).context("cannot open an event descriptor")?))
    }

    /// Wakes whoever waits.
    pub fn ring(&self) {
        // fails only at 2^64 - 1 rings, when it is rung anyway
        let _ = self.0.write(1);
    }

    /// Makes it ready to be rung again.
    pub fn hush(&self) {
        // fails only when it is not rung
        let _ = self.0.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
