//! Current errors, each logged once when it occurs and once when it is resolved.
use super::system_log::SystemLog;
use crate::model::{self, Report};
use crate::system::syslog::Severity;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of messages logged per change of a topic, so that a guest's owner cannot flood the node's log.
const MAX_MESSAGES: usize = 200;

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
    use crate::daemon::system_log::tests::{log_to_socket, received};
    use std::time::Duration;

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
    fn a_flood_of_errors_is_truncated() {
        let (_dir, socket, log) = log_to_socket(Severity::Info);
        let messages =
            (0..MAX_MESSAGES + 5).map(|number| Problem { text: number.to_string(), warning: false }).collect();
        Problems::default().set(Topic::Configuration, messages, &log);
        let logged = received(&socket, MAX_MESSAGES + 1);
        assert_eq!(logged[MAX_MESSAGES], "and 5 more messages; 'pve-firewall compile' shows all errors");
    }
}
