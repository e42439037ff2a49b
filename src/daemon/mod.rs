//! The daemon. Its main thread handles signals and the watchdog and never blocks; the updater thread reads, compiles and
//! applies the configuration, and is controlled by `updater_orders::Orders`.
#![allow(clippy::disallowed_methods, reason = "I/O is done in this module")]

pub(crate) mod cut_connections;
mod encapsulated_frames;
mod hand_over;
pub mod health;
pub(crate) mod instance;
pub(crate) mod last_good;
mod live_rules;
pub(crate) mod mode;
pub(crate) mod problems;
mod schedule;
pub(crate) mod status;
mod system_log;
mod systemd_status;
pub(crate) mod trials;
mod update_lock;
mod updater;
mod updater_orders;

use crate::backend::VariantChoice;
use crate::model::{BackendKind, DaemonOptions};
use crate::system::root_directory::Root;
use crate::system::signals::Signals;
use crate::system::syslog::Severity;
use crate::system::waker::Waker;
use crate::system::worker_process::{Stuck, timeout};
use crate::system::{malloc, process, systemd};
use anyhow::{Context, Result};
use instance::Instance;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use system_log::SystemLog;
use updater::{Exit, Updater};
use updater_orders::{Order, Orders};

/// The parameters of the daemon.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The root directory of its paths.
    pub root: Root,
    /// The configuration tree, an absolute path.
    pub config: PathBuf,
    /// The node's name.
    pub node: String,
    /// The backend of the daemon.
    pub kind: BackendKind,
    /// The variant of the tools.
    pub variant: VariantChoice,
    /// The minimum severity of logged messages.
    pub min_severity: Severity,
    /// Whether to log to stderr too.
    pub debug: bool,
    /// Whether to keep the last good configuration for a boot without `/etc/pve`.
    pub keep_last_good: bool,
    /// The options that rules depend on.
    pub options: DaemonOptions,
    /// Whether connections that a change no longer accepts are deleted from connection tracking.
    pub cut_connections: bool,
    /// The maximum time between two full readings of the live rules and the configuration.
    pub full_reading: Duration,
    /// The command line to re-execute this process: the program on disk and its arguments.
    pub restart: (PathBuf, Vec<OsString>),
}

/// How long to wait for the updater to end. Its tools have their own timeouts.
const END_TIMEOUT: Duration = Duration::from_secs(120);

/// How long to wait for the log at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGTERM or SIGINT, which remove the rules, or SIGQUIT, which leaves them in place. SIGHUP replaces the
/// process, and then this does not return.
///
/// # Errors
/// When it cannot be set up. Once it is running, only these signals end it.
pub fn run(setup: Setup, instance: &Instance) -> Result<()> {
    malloc::limit_free_memory();
    // a working directory below the configuration tree would prevent pmxcfs from starting again
    std::env::set_current_dir("/").context("cannot change to /")?;
    // before starting threads, which inherit it
    let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP])?;
    let log = SystemLog::new(&setup.root, setup.kind.program(), setup.min_severity, setup.debug);
    let pid_file = instance.pid_file();
    let problems = pid_file.as_ref().err().map(|error| format!("{error:#}"));
    for problem in problems.iter().chain(&instance.without_lock) {
        log.write(Severity::Warning, &format!("other commands may not find this daemon: {problem}"));
    }
    log.write(Severity::Info, "starting server");
    let mut supervisor = Supervisor { waker: Arc::new(Waker::new()?), setup, signals, log, ending: None };
    supervisor.run();
    status::Status::remove(&supervisor.setup.root, supervisor.setup.kind);
    supervisor.log.flush(FLUSH_TIMEOUT);
    Ok(())
}

/// The main thread.
struct Supervisor {
    setup: Setup,
    signals: Signals,
    log: SystemLog,
    /// Signalled by the updater when its state changes.
    waker: Arc<Waker>,
    /// How to end, according to the received signals. Never reset.
    ending: Option<Order>,
}

/// A running updater.
struct Running {
    thread: JoinHandle<Exit>,
    orders: Arc<Orders>,
    /// When it was ordered to end.
    ordered: Option<Instant>,
    ready: bool,
}

impl Supervisor {
    fn run(&mut self) {
        let mut inherited = Stuck::inherited();
        loop {
            let ended = match self.start(std::mem::take(&mut inherited)) {
                Ok(running) => self.supervise(running),
                Err(error) => {
                    self.log.write(Severity::Error, &format!("status update error: {error:#}"));
                    thread::sleep(Duration::from_secs(1));
                    None
                }
            };
            match ended {
                Some(Exit::Removed) => return,
                // it did not end in time
                None if self.ending.is_some() => return,
                Some(Exit::Left) => match self.ending {
                    Some(Order::Leave) => return,
                    // a signal to stop has arrived meanwhile: another updater removes the rules
                    Some(_) => {}
                    None => self.re_execute(),
                },
                None => {}
            }
        }
    }

    fn start(&self, inherited: Vec<Stuck>) -> Result<Running> {
        let orders = Arc::new(Orders::new(self.waker.clone())?);
        if let Some(order) = self.ending {
            orders.set(order);
        }
        let (setup, log, shared) = (self.setup.clone(), self.log.clone(), orders.clone());
        let thread = thread::Builder::new()
            .name("updater".into())
            .spawn(move || Updater::new(setup, shared, log, inherited).run())
            .context("cannot start a thread")?;
        Ok(Running { thread, orders, ordered: self.ending.map(|_| Instant::now()), ready: false })
    }

    /// Waits for an updater to end; `None` if it fails or does not end in time.
    fn supervise(&mut self, mut running: Running) -> Option<Exit> {
        let interval = systemd::alive_interval();
        loop {
            systemd::alive();
            let wait = if running.ordered.is_some() { Some(Duration::from_secs(1)) } else { interval };
            let mut fds = [&self.signals.as_fd(), &self.waker.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
            // an interrupted poll (EINTR) only repeats the loop
            let _ = poll(&mut fds, wait.map_or(PollTimeout::NONE, timeout));
            self.waker.clear();
            while let Some(signal) = self.signals.take() {
                self.handle_signal(signal, &mut running);
            }
            if running.orders.updated() && !std::mem::replace(&mut running.ready, true) {
                systemd::ready();
            }
            if running.orders.ended() {
                return running.thread.join().ok();
            }
            if running.ordered.is_some_and(|since| since.elapsed() > END_TIMEOUT) {
                self.log.write(Severity::Error, "the current update does not end; continuing without it");
                return None;
            }
        }
    }

    fn handle_signal(&mut self, signal: Signal, running: &mut Running) {
        let order = match signal {
            Signal::SIGHUP | Signal::SIGQUIT => Order::Leave,
            _ => Order::Stop,
        };
        if self.ending.is_some_and(|ending| ending >= order) {
            return;
        }
        if signal != Signal::SIGHUP {
            self.ending = Some(order);
            let rules = if order == Order::Leave { ", the rules stay in place" } else { "" };
            self.log.write(Severity::Info, &format!("server shutting down{rules}"));
            systemd::stopping();
        }
        running.ordered = Some(Instant::now());
        running.orders.set(order);
    }

    /// Executes the program on disk, which an upgrade may have replaced, in this process. Returns only on failure.
    fn re_execute(&self) {
        systemd::reloading();
        self.log.flush(FLUSH_TIMEOUT);
        let (program, args) = &self.setup.restart;
        let error = process::execute(program, args);
        self.log.write(Severity::Error, &format!("restart failed, continuing as before: {error:#}"));
        systemd::ready();
    }
}
