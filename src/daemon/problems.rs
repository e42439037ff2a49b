//! Current errors, each logged once when it occurs and once when it is resolved.
use crate::model::{self, Report};
use crate::system::root_directory::Root;
use crate::system::syslog::{Severity, Syslog};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// Maximum number of messages logged per change of a topic, so that a guest's owner cannot flood the node's log.
const MAX_MESSAGES: usize = 200;

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

/// The topic of messages; the messages of a topic are replaced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Reading the configuration tree.
    Tree,
    /// Watching the write-ahead log of pmxcfs.
    ClusterLog,
    /// The content of the tree.
    Configuration,
    /// The update as a whole: its lock, internal errors.
    Update,
    /// The kernel and its tools.
    Kernel,
    /// The daemon's own files.
    State,
    /// The trial of a configuration.
    Trial,
    /// The hand-over between the two backends.
    HandOver,
    /// What prevents the rules from being effective.
    Health,
    /// Kernel settings that cannot be written, as in a container: logged, but not an error of updates.
    Settings,
}

/// A current error or warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The text.
    pub text: String,
    /// Whether it is only a warning.
    pub warning: bool,
}

impl Problem {
    /// An error that prevents a complete update.
    pub fn failure(reason: impl std::fmt::Display) -> Self {
        Problem { text: format!("status update error: {reason}"), warning: false }
    }
}

impl From<&Report> for Problem {
    fn from(report: &Report) -> Self {
        Problem { text: report.to_string(), warning: report.severity == model::Severity::Warning }
    }
}

/// The current errors and warnings of all topics.
#[derive(Default)]
pub struct Problems(BTreeMap<Topic, Vec<Problem>>);

impl Problems {
    /// Replaces the messages of a topic, and logs new and resolved ones.
    pub fn set(&mut self, topic: Topic, now: Vec<Problem>, log: &SystemLog) {
        let before = self.0.insert(topic, now).unwrap_or_default();
        let now = &self.0[&topic];
        let (old, new): (BTreeSet<&Problem>, BTreeSet<&Problem>) = (before.iter().collect(), now.iter().collect());
        let mut seen = BTreeSet::new();
        let fresh = now.iter().filter(|message| !old.contains(message) && seen.insert(*message)).map(|message| {
            let severity = if message.warning { Severity::Warning } else { Severity::Error };
            (severity, message.text.clone())
        });
        let gone = old.difference(&new).map(|message| (Severity::Notice, format!("no longer: {}", message.text)));
        let mut left = 0;
        for (count, (severity, text)) in fresh.chain(gone).enumerate() {
            match count < MAX_MESSAGES {
                true => log.write(severity, &text),
                false => left += 1,
            }
        }
        if left > 0 {
            log.write(Severity::Warning, &format!("and {left} more messages; 'pve-firewall compile' shows all errors"));
        }
    }

    /// Whether a topic has no messages.
    #[must_use]
    pub fn is_clear(&self, topic: Topic) -> bool {
        self.0.get(&topic).is_none_or(Vec::is_empty)
    }

    /// The texts of all current errors and warnings of updates.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|(topic, _)| !matches!(topic, Topic::Health | Topic::Settings))
            .flat_map(|(_, messages)| messages)
            .map(|message| message.text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use tempfile::TempDir;

    /// A log that a socket in a temporary directory receives.
    fn log_to_socket(min_severity: Severity) -> (TempDir, UnixDatagram, SystemLog) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dev")).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("dev/log")).unwrap();
        let log = SystemLog::new(&Root::new(Some(dir.path().into())), "pve-firewall", min_severity, false);
        (dir, socket, log)
    }

    /// Receives up to this many messages.
    fn received(socket: &UnixDatagram, count: usize) -> Vec<String> {
        let mut buffer = [0; 4096];
        let next = || socket.recv(&mut buffer).ok().map(|length| text(&buffer[..length]));
        std::iter::from_fn(next).take(count).collect()
    }

    /// The message without time and pid.
    fn text(line: &[u8]) -> String {
        String::from_utf8_lossy(line).split_once("]: ").unwrap().1.to_string()
    }

    #[test]
    fn an_error_is_logged_when_it_occurs_and_when_it_is_resolved() {
        let (_dir, socket, log) = log_to_socket(Severity::Info);
        socket.set_nonblocking(true).unwrap();
        let mut problems = Problems::default();
        let messages = |texts: &[&str]| -> Vec<Problem> {
            texts.iter().map(|text| Problem { text: (*text).to_string(), warning: false }).collect()
        };
        for (topic, now, logged) in [
            (Topic::Tree, messages(&["a", "b", "a"]), vec!["a", "b"]),
            (Topic::Tree, messages(&["a", "b"]), vec![]),
            (Topic::Kernel, messages(&["a"]), vec!["a"]),
            (Topic::Tree, messages(&["b", "c"]), vec!["c", "no longer: a"]),
            (Topic::Kernel, messages(&[]), vec!["no longer: a"]),
        ] {
            problems.set(topic, now, &log);
            log.flush(Duration::from_secs(30));
            assert_eq!(received(&socket, usize::MAX), logged);
        }
        assert_eq!(problems.texts().collect::<Vec<_>>(), ["b", "c"]);
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

    #[test]
    fn a_flood_of_errors_is_truncated() {
        let (_dir, socket, log) = log_to_socket(Severity::Info);
        let messages =
            (0..MAX_MESSAGES + 5).map(|number| Problem { text: number.to_string(), warning: false }).collect();
        Problems::default().set(Topic::Configuration, messages, &log);
        let logged = received(&socket, MAX_MESSAGES + 1);
        assert_eq!(logged[MAX_MESSAGES], "and 5 more messages; 'pve-firewall compile' shows all errors");
    }
}
