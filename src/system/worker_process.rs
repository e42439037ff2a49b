//! Processes for work that may block forever: they answer requests over pipes and can be killed.
use super::waker::Waker;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use postcard::ser_flavors::Size;
use postcard::serialize_with_flavor;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for a killed worker before it counts as stuck.
const KILL_TIMEOUT: Duration = Duration::from_millis(300);
/// How much of a message is read or written at once, in bytes.
const CHUNK: usize = 1 << 16;
const CLOSED: &str = "the other side has closed the pipe";
/// The longest message, in bytes: far more than a tree of thousands of files.
const MAX_MESSAGE: usize = 1 << 30;

/// A worker process. Each of its messages is a frame: the length in four bytes, little-endian, then that many bytes.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    received: Vec<u8>,
}

/// The result of [`Worker::receive`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A message.
    Message(Vec<u8>),
    /// The deadline passed.
    TimedOut,
    /// The waker was signalled.
    Interrupted,
    /// The worker has ended.
    Closed,
}

/// A killed worker that still exists because it is blocked in an uninterruptible system call.
#[derive(Debug)]
pub struct Stuck(Pid);

impl Worker {
    /// Starts a program under the given name (as ps(1) shows it), in its own process group, so that Ctrl-C at a terminal
    /// does not reach it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, name: &str, args: &[&OsStr]) -> Result<Self> {
        let mut child = Command::new(program)
            .arg0(name)
            .args(args)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).context("the process has no pipes")?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("cannot set up a pipe")?;
        // fewer reads for a large answer; optional
        let _ = fcntl(&output, FcntlArg::F_SETPIPE_SZ(1 << 20));
        Ok(Worker { child, input, output, received: Vec::new() })
    }

    /// Sends a request of one byte. If the worker has ended, [`Worker::receive`] returns [`Reply::Closed`].
    pub fn send(&mut self, request: u8) {
        let _ = self.input.write_all(&[request]);
    }

    /// Waits for a message until `deadline`, or until the waker is signalled.
    pub fn receive(&mut self, deadline: Instant, waker: Option<&Waker>) -> Reply {
        loop {
            match self.fill() {
                Ok(true) => {}
                Ok(false) | Err(_) => return Reply::Closed,
            }
            match self.take_frame() {
                Ok(Some(message)) => return Reply::Message(message),
                Ok(None) => {}
                Err(()) => return Reply::Closed,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Reply::TimedOut;
            }
            let mut fds = vec![PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            fds.extend(waker.map(|waker| PollFd::new(waker.as_fd(), PollFlags::POLLIN)));
            // an interrupted poll (EINTR) only repeats the loop
            let _ = poll(&mut fds, timeout(left));
            if fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false)) {
                return Reply::Interrupted;
            }
        }
    }

    /// Becomes readable when the worker has sent data or has ended.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Reads the available bytes; `false` at the end of the pipe.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; CHUNK];
        loop {
            match self.output.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let Some((header, rest)) = self.received.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MAX_MESSAGE {
            return Err(());
        }
        if rest.len() < length {
            return Ok(None);
        }
        let left = self.received.split_off(4 + length);
        let mut frame = std::mem::replace(&mut self.received, left);
        frame.drain(..4);
        Ok(Some(frame))
    }

    /// Kills it and waits briefly for its end; returns it as stuck if it does not end.
    #[must_use]
    pub fn kill(mut self) -> Option<Stuck> {
        let _ = self.child.kill();
        // pids are below 2^22, see proc_sys_kernel(5)
        let stuck = Stuck(Pid::from_raw(self.child.id() as libc::pid_t));
        let deadline = Instant::now() + KILL_TIMEOUT;
        while !stuck.has_ended() {
            if Instant::now() >= deadline {
                return Some(stuck);
            }
            sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Stuck {
    /// Whether it has ended; reaps it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // any error means that it is not, or no longer, a child of this process
        !matches!(waitpid(self.0, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
    }

    /// The children that were started before this process re-executed itself: only stuck workers can be left. Kills them again.
    #[must_use]
    pub fn inherited() -> Vec<Stuck> {
        let path = format!("/proc/self/task/{}/children", std::process::id());
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let stuck = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(|pid| Stuck(Pid::from_raw(pid)));
        stuck.filter(|stuck| kill(stuck.0, Signal::SIGKILL).is_ok()).collect()
    }
}

/// Writes a message in postcard's format as a frame for [`Worker`].
///
/// # Errors
/// When the other side has closed the pipe, or the message is too long.
pub fn write_frame(to: impl Write, message: &impl Serialize) -> Result<()> {
    let length = serialize_with_flavor(message, Size::default()).context("cannot encode a message")?;
    let length = u32::try_from(length).context("a message is too long")?;
    // encoded directly into the pipe, so that the whole message is never in memory
    let mut to = BufWriter::with_capacity(CHUNK, to);
    to.write_all(&length.to_le_bytes()).context(CLOSED)?;
    postcard::to_io(message, &mut to).context(CLOSED)?.flush().context(CLOSED)
}

/// A duration for poll(2), rounded up to whole milliseconds.
#[must_use]
pub fn timeout(duration: Duration) -> PollTimeout {
    PollTimeout::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}
