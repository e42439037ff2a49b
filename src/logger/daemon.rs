//! The daemon: start, event loop, reload, stop.
use super::args::Args;
use super::dropped::DroppedEntries;
use super::local_host::LocalHost;
use super::netfilter_events::read_events;
use super::sink::Sink;
use super::traces::Traces;
use crate::nflog::conntrack::Event;
use crate::nflog::lines::LogLines;
use crate::nflog::message::LoggedPacket;
use crate::nflog::netlink::messages;
use crate::paths::{LOG, LOG_CONNTRACK, LOGGER_LOCK, LOGGER_PID};
use crate::system::files;
use crate::system::lock::FileLock;
use crate::system::netlink::{LinkNames, NetfilterEvents, Nflog, Received};
use crate::system::pid_file::PidFile;
use crate::system::root_directory::Root;
use crate::system::signals::Signals;
use crate::system::syslog::{Severity, Syslog};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use sd_notify::NotifyState;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long to wait for the lock: an instance that is stopping may still be writing queued lines.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The NFLOG group of the firewall's rules.
const GROUP: u16 = 0;
/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`
const PACKET: u16 = 0x0400;
/// Maximum number of datagrams that are read from one socket before the next socket is read.
const ROUND: usize = 64;
/// Pending lines are written early when they reach this size, in bytes.
const WRITE_SIZE: usize = 256 << 10;

/// Log levels of the daemon's own messages.
const NOTICE: u8 = 5;
const ERROR: u8 = 3;

/// A running logger.
pub(super) struct Daemon {
    root: Root,
    always_conntrack: bool,
    echo: bool,
    signals: Signals,
    nflog: Nflog,
    conntrack: Option<NetfilterEvents>,
    traces: Option<Traces>,
    lines: LogLines<LocalHost>,
    /// Lines that have not been written yet.
    pending: String,
    sink: Sink,
    dropped: DroppedEntries,
    syslog: Syslog,
    // dropped last: the next instance can start once all other fields are closed
    _pid_file: Option<PidFile>,
    _lock: Option<FileLock>,
}

impl Daemon {
    /// Opens all sockets and files, and logs the start.
    pub fn start(args: &Args) -> Result<Self> {
        let root = args.root();
        let mut syslog = Syslog::new(&root, "pvefw-logger", args.debug);
        let lock = match FileLock::acquire(&root.path(LOGGER_LOCK), LOCK_TIMEOUT) {
            Err(error) if error.is::<io::Error>() => or_warn(Err(error), &mut syslog),
            taken => Some(taken.context("pvefw-logger is already running")?),
        };
        let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])?;
        let path = root.path(LOG);
        let sink = Sink::open(path.clone()).with_context(|| format!("cannot open {}", path.display()))?;
        let mut daemon = Daemon {
            always_conntrack: args.conntrack,
            echo: args.debug,
            signals,
            nflog: Nflog::bind(GROUP)?,
            conntrack: None,
            traces: None,
            lines: LogLines::new(LocalHost(LinkNames::open()?)),
            pending: String::with_capacity(2 * WRITE_SIZE),
            sink,
            dropped: DroppedEntries::default(),
            _pid_file: or_warn(PidFile::write(root.path(LOGGER_PID)), &mut syslog),
            syslog,
            _lock: lock,
            root,
        };
        daemon.log(NOTICE, "starting pvefw logger");
        daemon.switch_conntrack();
        daemon.subscribe_to_traces();
        daemon.flush();
        Ok(daemon)
    }

    /// Writes lines until a signal stops it.
    pub fn run(mut self) -> Result<()> {
        notify(NotifyState::Ready);
        loop {
            self.wait()?;
            self.lines.host_mut().0.update()?;
            self.read_packets(ROUND)?;
            self.read_events(ROUND)?;
            self.read_traces(ROUND);
            self.flush();
            if is_past(self.dropped.due()) {
                self.report_dropped();
            }
            if is_past(self.traces.as_ref().and_then(Traces::due)) {
                self.report_skipped_steps();
            }
            while let Some(signal) = self.signals.take() {
                if signal != Signal::SIGHUP {
                    return self.end();
                }
                self.reload();
                self.flush();
            }
        }
    }

    /// Sleeps until a descriptor is readable or a report is due.
    fn wait(&self) -> Result<()> {
        let always = [self.signals.as_fd(), self.nflog.as_fd(), self.lines.host().0.as_fd()];
        let optional = [self.conntrack.as_ref().map(AsFd::as_fd), self.traces.as_ref().map(AsFd::as_fd)];
        let sources = always.into_iter().chain(optional.into_iter().flatten());
        let mut fds: Vec<PollFd<'_>> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let due = [self.dropped.due(), self.traces.as_ref().and_then(Traces::due)].into_iter().flatten().min();
        let timeout = due.map(|due| TimeSpec::from_duration(due - Instant::now()));
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).context("cannot wait for packets"),
        }
    }

    /// Formats up to this many datagrams of packets as lines; false if there may be more.
    fn read_packets(&mut self, datagrams: usize) -> Result<bool> {
        for _ in 0..datagrams {
            match self.nflog.receive()? {
                Received::Datagram(datagram) => {
                    for message in messages(datagram).filter(|message| message.kind == PACKET) {
                        let packet = LoggedPacket::decode(message.bytes);
                        self.dropped.packet(packet.sequence);
                        self.lines.push_packet(&packet, &mut self.pending);
                    }
                }
                Received::Overflow => self.dropped.overflow(),
                Received::Nothing => return Ok(true),
            }
            if self.pending.len() >= WRITE_SIZE {
                self.flush();
            }
        }
        Ok(false)
    }

    /// Like [`read_packets`](Self::read_packets), for conntrack events.
    fn read_events(&mut self, datagrams: usize) -> Result<bool> {
        let Some(conntrack) = &mut self.conntrack else { return Ok(true) };
        read_events(conntrack, datagrams, &mut self.dropped, |message| {
            if let Some(event) = Event::decode(&message) {
                self.lines.push_conntrack(&event, &mut self.pending);
            }
        })
    }

    /// Like [`read_packets`](Self::read_packets), for traces. They serve debugging only: an error ends them, not the logger.
    fn read_traces(&mut self, datagrams: usize) -> bool {
        let Some(traces) = &mut self.traces else { return true };
        traces.read(datagrams, &mut self.lines, &mut self.pending).unwrap_or_else(|error| {
            self.traces = None;
            self.log(ERROR, &format!("traces of nftables are no longer logged: {error:#}"));
            true
        })
    }

    /// Logs the number of steps of traces that were not written.
    fn report_skipped_steps(&mut self) {
        if let Some(text) = self.traces.as_mut().and_then(Traces::report) {
            self.lines.push_message(NOTICE, &text, &mut self.pending);
            self.flush();
        }
    }

    /// Writes the pending lines.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.echo {
            // stdout may be closed
            let _ = io::stdout().write_all(self.pending.as_bytes());
        }
        if let Err(failure) = self.sink.write(&self.pending) {
            self.dropped.add(failure.skipped);
            self.report_failure(failure.first_error);
        }
        self.pending.clear();
    }

    /// Logs the number of dropped entries. While the file cannot be written, this also detects when it is writable again.
    fn report_dropped(&mut self) {
        let skipped = self.dropped.unreported();
        let text = skipped_text(skipped);
        let mut line = String::new();
        if skipped > 0 {
            self.lines.push_message(ERROR, &text, &mut line);
        }
        if let Err(failure) = self.sink.write(&line) {
            self.report_failure(failure.first_error);
            return self.dropped.postpone();
        }
        if skipped > 0 {
            self.syslog.write(Severity::Error, &text);
        } else if self.dropped.overflow_size_unknown() {
            let text = "the kernel's queue overflowed: the number of skipped log entries is known with the next packet";
            self.syslog.write(Severity::Error, text);
        }
        self.dropped.reported();
    }

    fn report_failure(&mut self, first_error: Option<io::Error>) {
        self.dropped.schedule();
        if let Some(error) = first_error {
            let path = self.sink.path().display();
            let text = format!("cannot write to {path}: {error}; log entries are skipped until it can be written");
            self.syslog.write(Severity::Error, &text);
        }
    }

    /// Logs a message of the daemon, in the log file and in syslog.
    fn log(&mut self, level: u8, text: &str) {
        self.lines.push_message(level, text, &mut self.pending);
        self.syslog.write(if level == ERROR { Severity::Error } else { Severity::Notice }, text);
    }

    /// SIGHUP: the log was rotated, or the conntrack switch changed.
    fn reload(&mut self) {
        if let Err(error) = self.sink.reopen() {
            let text = format!("cannot reopen {}: {error}", self.sink.path().display());
            self.syslog.write(Severity::Error, &text);
        }
        self.switch_conntrack();
    }

    /// Subscribes to conntrack events or unsubscribes, according to the switch file.
    fn switch_conntrack(&mut self) {
        let wanted = self.always_conntrack || self.conntrack_is_on();
        if wanted && self.conntrack.is_none() {
            match NetfilterEvents::of_connections() {
                Ok(events) => self.conntrack = Some(events),
                Err(error) => self.log(ERROR, &format!("connections are not logged: {error:#}")),
            }
        } else if !wanted {
            self.conntrack = None;
        }
    }

    fn subscribe_to_traces(&mut self) {
        match Traces::subscribe() {
            Ok(traces) => self.traces = Some(traces),
            Err(error) => self.log(ERROR, &format!("traces of nftables are not logged: {error:#}")),
        }
    }

    fn conntrack_is_on(&mut self) -> bool {
        match files::read_optional(&self.root.path(LOG_CONNTRACK)) {
            Ok(content) => content.is_some_and(|content| content.trim_ascii() == b"1"),
            Err(error) => {
                self.syslog.write(Severity::Error, &format!("{error:#}"));
                false
            }
        }
    }

    /// Writes the entries that the kernel still has queued, and stops.
    fn end(mut self) -> Result<()> {
        notify(NotifyState::Stopping);
        self.log(NOTICE, "received terminate request (signal)");
        self.nflog.unbind()?;
        while !self.read_packets(ROUND)? {}
        if let Some(conntrack) = &self.conntrack {
            conntrack.leave()?;
        }
        while !self.read_events(ROUND)? {}
        // without this a continuing trace would delay the end
        if self.traces.as_ref().is_some_and(|traces| traces.leave().is_ok()) {
            while !self.read_traces(ROUND) {}
        }
        self.report_skipped_steps();
        self.flush();
        if self.dropped.due().is_some() || self.sink.is_failing() {
            self.report_dropped();
        }
        self.log(NOTICE, "stopping pvefw logger");
        self.flush();
        let skipped = self.dropped.unreported();
        if skipped > 0 {
            self.syslog.write(Severity::Error, &skipped_text(skipped));
        }
        Ok(())
    }
}

/// Without a writable `/run` the logger still starts: the kernel itself refuses a second logger.
fn or_warn<T>(result: Result<T>, syslog: &mut Syslog) -> Option<T> {
    let warn = |error| syslog.write(Severity::Warning, &format!("continuing without: {error:#}"));
    result.map_err(warn).ok()
}

fn is_past(due: Option<Instant>) -> bool {
    due.is_some_and(|due| due <= Instant::now())
}

fn skipped_text(entries: u64) -> String {
    format!("skipped {entries} log entries (queue full)")
}

/// Notifies the service manager, if there is one.
fn notify(state: NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}
