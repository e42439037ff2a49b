//! Waiting with a time limit that is long enough for a busy machine. At the limit the test fails, with a message that says what
//! it waited for.
#![allow(dead_code, reason = "each test program uses a part")]
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Display;
use std::panic::Location;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a test waits for an event before it fails.
pub const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// How long a command may run.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
/// How long an action with a [`Limit`] may take.
const ABORT_LIMIT: Duration = Duration::from_secs(900);
/// The interval of checking a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` returns a value.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    wait_for_ok(what, || condition().ok_or(""))
}

/// Waits until `condition` succeeds; at the limit its last error is reported.
#[track_caller]
pub fn wait_for_ok<T, E: Display>(what: &str, mut condition: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "timed out waiting for {what} {error}"),
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A process to wait for.
pub trait WaitInTime {
    /// Waits until the process ends. One that does not is killed, and the test fails.
    fn wait_in_time(&mut self) -> ExitStatus;
}

impl WaitInTime for Child {
    #[track_caller]
    fn wait_in_time(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            if let Some(status) = self.try_wait().expect("the state of a child") {
                return status;
            }
            if Instant::now() > deadline {
                let line = command_line(self);
                let _ = self.kill();
                // the cleanup of a failed test also waits
                assert!(std::thread::panicking(), "timed out waiting for the end of {line}");
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// A command, or a process started with pipes.
pub trait OutputInTime {
    /// Waits until the process ends and returns its output. A process that does not end is killed, and the test fails.
    fn output_in_time(self) -> Output;
}

impl OutputInTime for &mut Command {
    #[track_caller]
    fn output_in_time(self) -> Output {
        let piped = self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = piped.spawn().unwrap_or_else(|error| panic!("{self:?}: {error}"));
        output(child, &format!("{self:?}"))
    }
}

impl OutputInTime for Child {
    #[track_caller]
    fn output_in_time(self) -> Output {
        let line = command_line(&self);
        output(self, &line)
    }
}

/// The command line of a process, for messages.
fn command_line(child: &Child) -> String {
    let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ")
}

#[track_caller]
fn output(child: Child, what: &str) -> Output {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number"));
    let (sender, receiver) = mpsc::channel();
    // reading ends when all processes have closed the pipes, also those that the child started
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(COMMAND_LIMIT) {
        Ok(output) => output.unwrap_or_else(|error| panic!("{what}: {error}")),
        Err(_) => {
            let _ = kill(pid, Signal::SIGKILL);
            panic!("timed out waiting for the end of {what}");
        }
    }
}

/// A thread to wait for.
pub trait JoinInTime<T> {
    /// Waits until the thread ends; a panic of the thread is resumed.
    fn join_in_time(self) -> T;
}

impl<T> JoinInTime<T> for JoinHandle<T> {
    #[track_caller]
    fn join_in_time(self) -> T {
        let name = self.thread().name().unwrap_or("without a name").to_string();
        wait_for(&format!("the end of thread {name}"), || self.is_finished().then_some(()));
        self.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Calls `action` repeatedly until `work` ends, also if it panics; returns the number of calls.
pub fn repeat_during(action: impl Fn() + Send, work: impl FnOnce()) -> usize {
    std::thread::scope(|scope| {
        let (ends, end) = mpsc::channel::<()>();
        let count = scope.spawn(move || {
            let mut count = 0;
            while end.try_recv() == Err(TryRecvError::Empty) {
                action();
                count += 1;
            }
            count
        });
        work();
        drop(ends);
        count.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A time limit for an action that cannot be cancelled: a call that blocks, or a thread that borrows. If the limit is not dropped
/// in time, the whole program ends, with a message.
pub struct Limit(#[expect(dead_code, reason = "its drop ends the watch")] Sender<()>);

impl Limit {
    #[track_caller]
    pub fn new(what: impl Display + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel::<()>();
        let caller = Location::caller();
        std::thread::spawn(move || {
            if receiver.recv_timeout(ABORT_LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{caller}: timed out waiting for {what}");
                std::process::abort();
            }
        });
        Limit(sender)
    }
}

/// Runs functions in parallel, each in a thread; returns their results in the same order.
#[track_caller]
pub fn run_in_parallel<T: Send>(
    what: &'static str,
    jobs: impl IntoIterator<Item = impl FnOnce() -> T + Send>,
) -> Vec<T> {
    let _limit = Limit::new(what);
    std::thread::scope(|scope| {
        let threads: Vec<_> = jobs.into_iter().map(|job| scope.spawn(job)).collect();
        let result = |thread: std::thread::ScopedJoinHandle<'_, T>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(result).collect()
    })
}
