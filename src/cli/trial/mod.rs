//! `try`, `confirm` and `revert`: a change that undoes itself unless somebody confirms it.
mod attempt;
mod confirm;
mod outcome;
mod revert;

pub(super) use attempt::run as attempt;
pub(super) use confirm::run as confirm;
pub(super) use revert::run as revert;

use std::time::Duration;

/// How long the lock of another command is waited for.
const LOCKING: Duration = Duration::from_secs(10);
/// How long the daemon may take to act.
const ACTING: Duration = Duration::from_secs(60);
/// How often is looked at what the daemon has done.
const LOOKING: Duration = Duration::from_millis(50);

/// A number of seconds, the last one begun counts.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}
