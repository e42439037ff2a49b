//! Starting a daemon so that whoever started it learns whether it runs.
use super::process::{Side, into_background};
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::File;
use std::io::{Read, Write};

/// Runs `start` in the background. The starter gets `None`, once `start` has succeeded; the daemon gets its result.
/// To be called while the process has one thread only.
///
/// # Errors
/// To the starter, with what went wrong in `start`; to the daemon as well, which has nobody left to tell.
pub fn start_in_background<T>(start: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    let mut report = String::new();
    match into_background()? {
        Side::Starter(_) => {
            drop(writer);
            File::from(reader).read_to_string(&mut report).context("the daemon does not answer")?;
            match report.strip_prefix(STARTED) {
                Some(_) => Ok(None),
                None if report.is_empty() => bail!("the daemon ended before it was ready"),
                None => bail!(report),
            }
        }
        Side::Daemon => {
            let started = start();
            let report = started.as_ref().map_or_else(|error| format!("{error:#}"), |_| STARTED.to_string());
            File::from(writer).write_all(report.as_bytes()).context("nobody waits for the daemon")?;
            started.map(Some)
        }
    }
}

/// What the daemon tells its starter when all is well: no error begins with it.
const STARTED: &str = "\0";
