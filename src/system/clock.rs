//! The wall clock, the local time zone, and the clock of this boot.
#![allow(unsafe_code, reason = "localtime_r(3)")]
use crate::nflog::time::LocalTime;
use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the epoch.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Nanoseconds since boot, including suspend; independent of the wall clock.
///
/// # Errors
/// When it cannot be read.
pub fn since_boot() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).context("cannot read the clock of this boot")?;
    let nanoseconds = u64::try_from(time.tv_sec())?.saturating_mul(1_000_000_000);
    Ok(nanoseconds.saturating_add(u64::try_from(time.tv_nsec())?))
}

/// The kernel's id of this boot.
///
/// # Errors
/// When it cannot be read.
pub fn boot_id() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the id of this boot")?;
    Ok(text.trim().to_string())
}

/// Converts seconds since the epoch to local time.
///
/// A time that the C library cannot convert (from the year 2^31) becomes the epoch.
#[must_use]
pub fn local_time(seconds: i64) -> LocalTime {
    // SAFETY: a zeroed tm is valid: integers, and a null pointer for the name of the time zone
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; localtime_r stores neither
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) }.is_null() && seconds != 0 {
        return local_time(0);
    }
    // the C library returns these in their ranges
    let small = |number: i32| u8::try_from(number).unwrap_or(0);
    LocalTime {
        year: tm.tm_year.saturating_add(1900),
        month: small(tm.tm_mon),
        day: small(tm.tm_mday),
        weekday: small(tm.tm_wday),
        hour: small(tm.tm_hour),
        minute: small(tm.tm_min),
        second: small(tm.tm_sec),
        offset: i32::try_from(tm.tm_gmtoff).unwrap_or(0),
    }
}
