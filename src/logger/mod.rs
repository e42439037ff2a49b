//! The log daemon: packets of NFLOG group 0 and conntrack events in, lines of `/var/log/pve-firewall.log` out.
//!
//! One thread waits for what comes first: packets, events, changed interfaces, signals. What has arrived is read to
//! its end (up to a bound), turned into lines and written at once, so that the kernel's queue is the only one.
//! No timer runs unless something is owed: a loss to be reported, or a line that could not be written.
#![allow(clippy::disallowed_methods, reason = "this is the shell: it has a clock, files and standard output")]

pub mod args;
mod daemon;
mod host;
mod losses;
mod sink;

use crate::system::background::start_in_background;
use anyhow::{Result, bail};
use args::Args;
use daemon::Daemon;

/// Runs the logger until it is told to end; in the background unless asked otherwise.
///
/// # Errors
/// When it cannot start: it is not root, another instance runs, or the kernel or the log file refuse. Later, when the kernel's sockets
/// break.
pub fn run(args: &Args) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the kernel hands packets to root only: run pvefw-logger as root");
    }
    if args.stays_in_foreground() {
        return Daemon::start(args)?.run();
    }
    start_in_background(|| Daemon::start(args))?.map_or(Ok(()), Daemon::run)
}
