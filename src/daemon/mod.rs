//! The daemon. Its main thread answers signals and the watchdog, and never does anything that can block; the updater's
//! thread reads, compiles and applies, and is told to end by `control::Orders`.
#![allow(clippy::disallowed_methods, reason = "this is the shell: I/O lives here")]

mod control;
pub mod instance;
pub mod last_good;
pub mod mode;
pub mod problems;
mod schedule;
pub mod status;
pub mod trials;
pub mod unreadable_guests;
mod updater;

use crate::iptables::apply::VariantChoice;
use crate::system::root::Root;
use crate::system::signals::Signals;
use crate::system::syslog::Severity;
use crate::system::waker::Waker;
use crate::system::worker::{Stuck, timeout};
use crate::system::{malloc, process, systemd};
use anyhow::{Context, Result};
use control::{Order, Orders};
use instance::Instance;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use problems::Log;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use updater::{Ended, Updater};

/// What the daemon works on.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where all of its paths lie.
    pub root: Root,
    /// The configuration tree, an absolute path.
    pub config: PathBuf,
    /// The node's name.
    pub node: String,
    /// The variant of the tools.
    pub variant: VariantChoice,
    /// Whether messages go to stderr too.
    pub debug: bool,
    /// Whether the last good configuration is kept for a boot without `/etc/pve`.
    pub keep_last_good: bool,
    /// The longest time between two full readings of what is live, and of the configuration.
    pub full_reading: Duration,
    /// How this process can be executed anew: the program on disk and its arguments.
    pub anew: (PathBuf, Vec<OsString>),
}

/// How long the updater may take to end before the daemon goes without it. Its tools have limits of their own.
const ENDING: Duration = Duration::from_secs(120);

/// How long the log may take at the end.
const FLUSHING: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP replaces the process, and then this does not return.
///
/// # Errors
/// When it cannot be set up. Once it runs, nothing makes it end but these signals.
pub fn run(setup: Setup, instance: &Instance) -> Result<()> {
    malloc::limit_free_memory();
    // no working directory below the configuration tree: it would keep pmxcfs from starting again
    std::env::set_current_dir("/").context("cannot go to /")?;
    // before there is any thread, so that all inherit it
    let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])?;
    let log = Log::new(&setup.root, setup.debug);
    let pid_file = instance.pid_file();
    let troubles = pid_file.as_ref().err().map(|error| format!("{error:#}"));
    for trouble in troubles.iter().chain(&instance.without_lock) {
        log.write(Severity::Warning, &format!("'pve-firewall stop' may not find this daemon: {trouble}"));
    }
    log.write(Severity::Info, "starting server");
    let mut supervisor = Supervisor { waker: Arc::new(Waker::new()?), setup, signals, log, stopping: false };
    supervisor.run();
    status::Status::remove(&supervisor.setup.root);
    supervisor.log.flush(FLUSHING);
    Ok(())
}

/// The main thread.
struct Supervisor {
    setup: Setup,
    signals: Signals,
    log: Log,
    /// Rung by the updater when it has news.
    waker: Arc<Waker>,
    /// Whether a signal to stop has come. That is final.
    stopping: bool,
}

/// An updater at work.
struct Running {
    thread: JoinHandle<Ended>,
    orders: Arc<Orders>,
    /// When its end was ordered.
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
                Some(Ended::Removed) => return,
                // given up on: it does not end although it was told to
                None if self.stopping => return,
                Some(Ended::Left) if !self.stopping => self.execute_anew(),
                _ => {}
            }
        }
    }

    fn start(&self, inherited: Vec<Stuck>) -> Result<Running> {
        let orders = Arc::new(Orders::new(self.waker.clone())?);
        if self.stopping {
            orders.give(Order::Stop);
        }
        let (setup, log, shared) = (self.setup.clone(), self.log.clone(), orders.clone());
        let thread = thread::Builder::new()
            .name("updater".into())
            .spawn(move || Updater::new(setup, shared, log, inherited).run())
            .context("cannot start a thread")?;
        Ok(Running { thread, orders, ordered: self.stopping.then(Instant::now), ready: false })
    }

    /// Stays with an updater until it ends; `None` when it fails, or must be given up.
    fn supervise(&mut self, mut running: Running) -> Option<Ended> {
        let interval = systemd::alive_interval();
        loop {
            systemd::alive();
            let wait = if running.ordered.is_some() { Some(Duration::from_secs(1)) } else { interval };
            let mut fds = [&self.signals.as_fd(), &self.waker.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
            // a failure (EINTR) is as a wake-up for nothing
            let _ = poll(&mut fds, wait.map_or(PollTimeout::NONE, timeout));
            self.waker.clear();
            while let Some(signal) = self.signals.take() {
                self.obey(signal, &mut running);
            }
            if running.orders.updated() && !std::mem::replace(&mut running.ready, true) {
                systemd::ready();
            }
            if running.orders.ended() {
                return running.thread.join().ok();
            }
            if running.ordered.is_some_and(|since| since.elapsed() > ENDING) {
                self.log.write(Severity::Error, "the update that is under way does not end; going without it");
                return None;
            }
        }
    }

    fn obey(&mut self, signal: Signal, running: &mut Running) {
        let order = match signal {
            Signal::SIGHUP if self.stopping => return,
            Signal::SIGHUP => Order::Leave,
            _ if self.stopping => return,
            _ => {
                self.stopping = true;
                self.log.write(Severity::Info, "server shutting down");
                systemd::stopping();
                Order::Stop
            }
        };
        running.ordered = Some(Instant::now());
        running.orders.give(order);
    }

    /// Replaces this process by the program on disk, which an upgrade may have changed. Returns only on failure.
    fn execute_anew(&self) {
        systemd::reloading();
        self.log.flush(FLUSHING);
        let (program, args) = &self.setup.anew;
        let error = process::execute(program, args);
        self.log.write(Severity::Error, &format!("restart failed, going on as before: {error:#}"));
        systemd::ready();
    }
}
