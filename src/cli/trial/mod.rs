//! `try`, `confirm` and `revert`: a change that is reverted automatically unless it is confirmed.
mod confirm;
mod revert;
mod start;
mod trial_state;
mod wait;

pub(super) use confirm::run as confirm;
pub(super) use revert::run as revert;
pub(super) use start::run as start;

use std::time::Duration;

/// How long to wait for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the daemon.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(60);
/// The polling interval for the daemon's status.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Nanoseconds in seconds, rounded up.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}
