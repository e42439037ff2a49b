//! The log daemon: writes packets of NFLOG group 0, conntrack events and traces of nftables to `/var/log/pve-firewall.log`.
//!
//! A single thread polls packets, conntrack events, traces, link events and signals. It reads all queued datagrams (up to a
//! limit), formats them and writes the lines at once, so that only the kernel queues.
//! A timer runs only while dropped entries have to be reported or a line could not be written.
#![allow(clippy::disallowed_methods, reason = "the daemon uses the clock, files and standard output")]

pub mod args;
mod daemon;
mod dropped;
mod local_host;
mod netfilter_events;
mod sink;
mod traces;

use crate::system::background::start_in_background;
use anyhow::{Result, bail};
use args::Args;
use daemon::Daemon;

/// Runs the logger until a signal stops it, by default in the background.
///
/// # Errors
/// When it cannot start: not root, another instance is running, a socket or the log file cannot be opened. Later, when a
/// socket fails.
pub fn run(args: &Args) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("only root can receive logged packets: run pvefw-logger as root");
    }
    if args.stays_in_foreground() {
        return Daemon::start(args)?.run();
    }
    start_in_background(|| Daemon::start(args))?.map_or(Ok(()), Daemon::run)
}
