//! The system log of the daemon.
use crate::system::root_directory::Root;
use crate::system::syslog::{Severity, Syslog};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// Maximum number of lines logged of one text, well below [`QUEUE_LENGTH`].
const MAX_LINES: usize = 500;

/// Maximum number of messages queued for a log daemon that does not read.
const QUEUE_LENGTH: usize = 1000;

/// The system log, shared by the threads of the daemon. A separate thread writes, so that a hanging log daemon blocks none
/// of them; if its queue is full, messages are dropped.
#[derive(Clone)]
pub struct SystemLog {
    queue: SyncSender<Item>,
    min_severity: Severity,
}

enum Item {
    Message(Severity, String),
    /// Requests a reply when all earlier messages have been written.
    Flushed(Sender<()>),
}

impl SystemLog {
    /// A log under the name of a program. Less severe messages than `min_severity` are dropped. With `debug`, messages are also
    /// written to standard error.
    #[must_use]
    pub fn new(root: &Root, program: &'static str, min_severity: Severity, debug: bool) -> Self {
        let (sender, receiver) = sync_channel(QUEUE_LENGTH);
        let mut syslog = Syslog::new(root, program, debug);
        let write = move || {
            for item in receiver {
                match item {
                    Item::Message(severity, text) => syslog.write(severity, &text),
                    // the receiver may have stopped waiting
                    Item::Flushed(done) => drop(done.send(())),
                }
            }
        };
        // if the thread cannot be started, the firewall works without a log
        let _ = thread::Builder::new().name("log".into()).spawn(write);
        SystemLog { queue: sender, min_severity }
    }

    /// Queues one message.
    pub fn write(&self, severity: Severity, message: &str) {
        if !self.logs(severity) {
            return;
        }
        // fails if the queue is full
        let _ = self.queue.try_send(Item::Message(severity, message.to_string()));
    }

    /// Whether messages of this severity are logged.
    #[must_use]
    pub fn logs(&self, severity: Severity) -> bool {
        severity <= self.min_severity
    }

    /// Logs a long text, one message for each of its first [`MAX_LINES`] lines.
    pub fn write_lines(&self, severity: Severity, text: &str) {
        if !self.logs(severity) {
            return;
        }
        text.lines().take(MAX_LINES).for_each(|line| self.write(severity, line));
        let more = text.lines().count().saturating_sub(MAX_LINES);
        if more > 0 {
            self.write(severity, &format!("and {more} more lines"));
        }
    }

    /// Waits until all messages are written, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, flushed) = channel();
        if self.queue.try_send(Item::Flushed(done)).is_ok() {
            let _ = flushed.recv_timeout(limit);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use tempfile::TempDir;

    /// A log that a socket in a temporary directory receives.
    pub fn log_to_socket(min_severity: Severity) -> (TempDir, UnixDatagram, SystemLog) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dev")).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("dev/log")).unwrap();
        let log = SystemLog::new(&Root::new(Some(dir.path().into())), "pve-firewall", min_severity, false);
        (dir, socket, log)
    }

    /// Receives up to this many messages.
    pub fn received(socket: &UnixDatagram, count: usize) -> Vec<String> {
        let mut buffer = [0; 4096];
        let next = || socket.recv(&mut buffer).ok().map(|length| text(&buffer[..length]));
        std::iter::from_fn(next).take(count).collect()
    }

    /// The message without time and pid.
    fn text(line: &[u8]) -> String {
        String::from_utf8_lossy(line).split_once("]: ").unwrap().1.to_string()
    }

    #[test]
    fn a_long_text_is_truncated() {
        let (_dir, socket, log) = log_to_socket(Severity::Trace);
        log.write_lines(Severity::Trace, &"line\n".repeat(MAX_LINES + 2));
        let logged = received(&socket, MAX_LINES + 1);
        assert!(logged[..MAX_LINES].iter().all(|line| line == "line"), "{logged:?}");
        assert_eq!(logged[MAX_LINES], "and 2 more lines");
    }

    #[test]
    fn a_log_daemon_that_does_not_read_blocks_nothing() {
        let (_dir, socket, log) = log_to_socket(Severity::Info);
        for number in 0..5 * QUEUE_LENGTH {
            log.write(Severity::Info, &number.to_string());
        }
        log.flush(Duration::from_millis(10));
        assert_eq!(received(&socket, 1), ["0"]);
    }
}
