//! Tests that measure their own process: one at a time, and apart from all others.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "../support/generated.rs"]
mod generated;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/trees.rs"]
mod trees;

mod budget;
mod cycles;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test measures, and keeps others from it.
fn measure() -> MutexGuard<'static, ()> {
    static MEASURING: Mutex<()> = Mutex::new(());
    // a test that failed has ended its measurement
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}
