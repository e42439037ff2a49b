//! Processes: starting one in the background, replacing its program, signals.
#![allow(unsafe_code, reason = "fork(2)")]
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, execv, fork, setsid};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The number of threads that can run in parallel.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The two processes after [`into_background`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The parent; the daemon has this pid.
    Parent(i32),
    /// The daemon, in a new session, with `/dev/null` as its standard streams.
    Daemon,
}

/// Forks a daemon. Call it while the process has a single thread.
///
/// # Errors
/// When fork(2) or setsid(2) fails.
pub fn into_background() -> Result<Forked> {
    // SAFETY: callers have a single thread, so the child may call any function
    if let ForkResult::Parent { child } = unsafe { fork() }.context("cannot fork")? {
        return Ok(Forked::Parent(child.as_raw()));
    }
    setsid().context("cannot open a session")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(Forked::Daemon)
}

/// Executes a program in this process (execve(2)); it inherits the pid, the signal mask and pending signals.
///
/// Returns only on failure.
pub fn execute(program: &Path, args: &[OsString]) -> anyhow::Error {
    let args = std::iter::once(program.as_os_str()).chain(args.iter().map(OsString::as_os_str));
    let error = match args.map(text).collect::<Result<Vec<CString>>>() {
        Ok(texts) => match execv(&texts[0], &texts) {
            Err(errno) => errno.into(),
            Ok(never) => match never {},
        },
        Err(error) => error,
    };
    error.context(format!("cannot execute {}", program.display()))
}

fn text(arg: &OsStr) -> Result<CString> {
    CString::new(arg.as_bytes()).context("an argument contains a NUL byte")
}

/// Sends a signal to a process.
///
/// # Errors
/// When it does not exist, or belongs to another user.
pub fn signal(pid: i32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal} to process {pid}"))
}

/// The pid of this process.
#[must_use]
pub fn own_pid() -> i32 {
    Pid::this().as_raw()
}

/// Whether a process with this pid exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    // the state is the first field after the command in parentheses, see proc_pid_stat(5)
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
