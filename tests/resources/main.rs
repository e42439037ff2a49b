//! Tests that measure their own process: one at a time, and in a separate program.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "../support/generated.rs"]
mod generated;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/trees.rs"]
mod trees;
#[path = "../support/wait.rs"]
mod wait;

mod budget;
mod cycles;
mod foreign;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test is measuring, and blocks others from starting.
fn measure() -> MutexGuard<'static, ()> {
    static MEASURING: Mutex<()> = Mutex::new(());
    // a test that panicked no longer measures
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}
