//! Starting a daemon in the background and reporting the result of its start.
use super::process::{Forked, into_background};
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::File;
use std::io::{Read, Write};

/// Forks and runs `start` in the child. The parent returns `None` once `start` has succeeded; the child returns its result.
/// Call it while the process has a single thread.
///
/// # Errors
/// When `start` fails: both the parent and the child return its error.
pub fn start_in_background<T>(start: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    let mut report = String::new();
    match into_background()? {
        Forked::Parent(_) => {
            drop(writer);
            File::from(reader).read_to_string(&mut report).context("cannot read the daemon's report")?;
            match report.strip_prefix(STARTED) {
                Some(_) => Ok(None),
                None if report.is_empty() => bail!("the daemon ended before it was ready"),
                None => bail!(report),
            }
        }
        Forked::Daemon => {
            let started = start();
            let report = started.as_ref().map_or_else(|error| format!("{error:#}"), |_| STARTED.to_string());
            File::from(writer).write_all(report.as_bytes()).context("cannot report to the starting process")?;
            started.map(Some)
        }
    }
}

/// The daemon's report of success: no error text begins with it.
const STARTED: &str = "\0";
