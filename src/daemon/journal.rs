//! What is wrong now, logged once when it appears and once when it is gone.
use crate::config::{self, Report};
use crate::system::root::Root;
use crate::system::syslog::{Severity, Syslog};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The most messages that one change of a topic may log: a guest's owner must not flood the node's log.
const MOST: usize = 200;

/// The system log, shared by the threads of the daemon.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Syslog>>);

impl Log {
    /// A log; with `debug` on stderr too.
    #[must_use]
    pub fn new(root: &Root, debug: bool) -> Self {
        Log(Arc::new(Mutex::new(Syslog::new(root, "pve-firewall", debug))))
    }

    /// Writes one message.
    pub fn write(&self, severity: Severity, message: &str) {
        // a panic of another thread in the middle of a message spoils nothing
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(severity, message);
    }
}

/// What messages are about; each topic is known or unknown as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Reading the configuration tree.
    Tree,
    /// What is in the tree.
    Configuration,
    /// The update as a whole: its lock, its bugs.
    Update,
    /// The kernel and its tools.
    Kernel,
}

/// A message that is true for a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// The text.
    pub text: String,
    /// Whether it is a warning only.
    pub warning: bool,
}

impl Message {
    /// Something that keeps an update from being complete.
    pub fn failure(reason: impl std::fmt::Display) -> Self {
        Message { text: format!("status update error: {reason}"), warning: false }
    }
}

impl From<&Report> for Message {
    fn from(report: &Report) -> Self {
        Message { text: report.to_string(), warning: report.severity == config::Severity::Warning }
    }
}

/// The messages that are true now.
#[derive(Default)]
pub struct Journal(BTreeMap<Topic, Vec<Message>>);

impl Journal {
    /// Replaces what is true about a topic, and logs what is new and what is gone.
    pub fn set(&mut self, topic: Topic, now: Vec<Message>, log: &Log) {
        let before = self.0.insert(topic, now).unwrap_or_default();
        let now = &self.0[&topic];
        let (old, new): (BTreeSet<&Message>, BTreeSet<&Message>) = (before.iter().collect(), now.iter().collect());
        let mut seen = BTreeSet::new();
        let fresh = now.iter().filter(|message| !old.contains(message) && seen.insert(*message)).map(|message| {
            let severity = if message.warning { Severity::Warning } else { Severity::Error };
            (severity, message.text.clone())
        });
        let gone = old.difference(&new).map(|message| (Severity::Notice, format!("no longer: {}", message.text)));
        let mut left = 0;
        for (count, (severity, text)) in fresh.chain(gone).enumerate() {
            match count < MOST {
                true => log.write(severity, &text),
                false => left += 1,
            }
        }
        if left > 0 {
            log.write(Severity::Warning, &format!("and {left} more messages; 'pve-firewall compile' shows all faults"));
        }
    }

    /// Whether nothing was wrong with a topic when it was last looked at.
    #[must_use]
    pub fn is_clear(&self, topic: Topic) -> bool {
        self.0.get(&topic).is_none_or(Vec::is_empty)
    }

    /// All that is wrong now, one text each.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(|message| message.text.as_str())
    }
}
