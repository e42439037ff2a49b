//! Messages to the system log, facility daemon.
use super::root_directory::Root;
use std::path::PathBuf;
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

/// The severity of a message: the levels of syslog(3) that the programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An error; LOGID 3.
    Error,
    /// A probable mistake; LOGID 4.
    Warning,
    /// A normal but significant event; LOGID 5.
    Notice,
    /// An informational message; LOGID 6.
    Info,
    /// A detail for debugging; LOGID 7.
    Debug,
    /// Each step, for debugging. syslog(3) has no such level: the message is logged as [`Severity::Debug`].
    Trace,
}

/// A connection to the system log, reopened when it breaks. Without a log daemon, messages are dropped.
pub struct Syslog {
    ident: &'static str,
    socket: PathBuf,
    to_stderr: bool,
    logger: Option<Logger<LoggerBackend, Formatter3164>>,
}

impl Syslog {
    /// Messages are logged as `ident[pid]`, and printed to stderr too if `to_stderr`.
    #[must_use]
    pub fn new(root: &Root, ident: &'static str, to_stderr: bool) -> Self {
        Syslog { ident, socket: root.path("/dev/log"), to_stderr, logger: None }
    }

    /// Logs one message; line breaks become blanks.
    pub fn write(&mut self, severity: Severity, message: &str) {
        if self.to_stderr {
            eprintln!("{message}");
        }
        let message = message.replace(['\n', '\r'], " ");
        // the socket is unusable after a restart of syslogd: the second attempt opens a new one
        for _ in 0..2 {
            if self.logger.is_none() {
                self.logger = syslog::unix_custom(self.formatter(), &self.socket).ok();
            }
            let Some(logger) = &mut self.logger else { return };
            let sent = match severity {
                Severity::Error => logger.err(&message),
                Severity::Warning => logger.warning(&message),
                Severity::Notice => logger.notice(&message),
                Severity::Info => logger.info(&message),
                Severity::Debug | Severity::Trace => logger.debug(&message),
            };
            if sent.is_ok() {
                return;
            }
            self.logger = None;
        }
    }

    fn formatter(&self) -> Formatter3164 {
        Formatter3164 {
            facility: Facility::LOG_DAEMON,
            hostname: None,
            process: self.ident.to_string(),
            pid: std::process::id(),
        }
    }
}
