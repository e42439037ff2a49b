//! Processes for work that may block for ever: they answer requests over pipes, and can be given up.
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

/// How long a killed worker may take to be gone before it counts as stuck.
const DYING: Duration = Duration::from_millis(300);
/// How much of a message is read or written at once, in bytes.
const PORTION: usize = 1 << 16;
const GONE: &str = "the reading side is gone";
/// The longest message, in bytes: far more than a tree of thousands of files.
const LONGEST: usize = 1 << 30;

/// A worker process. Its messages are frames: the length in four bytes, little-endian, and so many bytes.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    received: Vec<u8>,
}

/// What [`Worker::receive`] ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Vec<u8>),
    /// Nothing came in time.
    Late,
    /// The waker was rung.
    Interrupted,
    /// The worker is gone.
    Closed,
}

/// A worker that was given up and killed, and lives on in a system call that cannot be interrupted.
#[derive(Debug)]
pub struct Stuck(Pid);

impl Worker {
    /// Starts a program under a name that ps(1) shows, in a process group of its own, so that Ctrl-C at a terminal
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
        let (input, output) = child.stdin.take().zip(child.stdout.take()).context("a process without its pipes")?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("cannot set up a pipe")?;
        // fewer turns for a large answer; the usual size does as well
        let _ = fcntl(&output, FcntlArg::F_SETPIPE_SZ(1 << 20));
        Ok(Worker { child, input, output, received: Vec::new() })
    }

    /// Sends a request of one byte. One that is dead shows so in [`Worker::receive`].
    pub fn send(&mut self, request: u8) {
        let _ = self.input.write_all(&[request]);
    }

    /// Waits for a message until `deadline`, or until the waker rings.
    pub fn receive(&mut self, deadline: Instant, waker: Option<&Waker>) -> Received {
        loop {
            match self.fill() {
                Ok(true) => {}
                Ok(false) | Err(_) => return Received::Closed,
            }
            match self.take_frame() {
                Ok(Some(message)) => return Received::Message(message),
                Ok(None) => {}
                Err(()) => return Received::Closed,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Received::Late;
            }
            let mut fds = vec![PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            fds.extend(waker.map(|waker| PollFd::new(waker.as_fd(), PollFlags::POLLIN)));
            // a failure of poll (EINTR) is as a wake-up for nothing
            let _ = poll(&mut fds, timeout(left));
            if fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false)) {
                return Received::Interrupted;
            }
        }
    }

    /// Becomes readable when the worker has something to say.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Reads what has come; `false` at the end of the pipe.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; PORTION];
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
        if length > LONGEST {
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

    /// Kills it, and waits a moment for its end.
    #[must_use]
    pub fn give_up(mut self) -> Option<Stuck> {
        let _ = self.child.kill();
        // process numbers are below 2^22, see proc_sys_kernel(5)
        let stuck = Stuck(Pid::from_raw(self.child.id() as libc::pid_t));
        let deadline = Instant::now() + DYING;
        while !stuck.is_gone() {
            if Instant::now() >= deadline {
                return Some(stuck);
            }
            sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Stuck {
    /// Takes note of its end, if it has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        // any error means that it is no child of ours (any more)
        !matches!(waitpid(self.0, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
    }

    /// The children that this process had before it executed itself anew: it can have left only such workers behind.
    #[must_use]
    pub fn inherited() -> Vec<Stuck> {
        let path = format!("/proc/self/task/{}/children", std::process::id());
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let stuck = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(|pid| Stuck(Pid::from_raw(pid)));
        stuck.filter(|stuck| kill(stuck.0, Signal::SIGKILL).is_ok()).collect()
    }
}

/// Writes a message in postcard's format as a frame, as [`Worker`] reads it.
///
/// # Errors
/// When the other side is gone, or the message is too long.
pub fn write_frame(to: impl Write, message: &impl Serialize) -> Result<()> {
    let length = serialize_with_flavor(message, Size::default()).context("cannot encode a message")?;
    let length = u32::try_from(length).context("a message is too long")?;
    // the other side takes it in while it is made, and it is never here as a whole
    let mut to = BufWriter::with_capacity(PORTION, to);
    to.write_all(&length.to_le_bytes()).context(GONE)?;
    postcard::to_io(message, &mut to).context(GONE)?.flush().context(GONE)
}

/// A duration for poll(2), rounded up to whole milliseconds.
#[must_use]
pub fn timeout(duration: Duration) -> PollTimeout {
    PollTimeout::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}
