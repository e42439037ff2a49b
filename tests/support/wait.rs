//! Waiting for what must happen: as long as it may take on a busy machine, and no longer than it does take.
#![allow(dead_code, reason = "each test program uses a part")]
use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen. What is late by so much does not happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    until_ok(what, || condition().ok_or(""))
}

/// Waits until `condition` succeeds; its last error is told if it does not.
#[track_caller]
pub fn until_ok<T, E: Display>(what: &str, mut condition: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "waited in vain for {what} {error}"),
        }
        std::thread::sleep(PAUSE);
    }
}
