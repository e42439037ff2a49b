//! The model of a trial: its files, the resulting configuration tree, and when it ends.
use crate::inputs::{Content, File, Tree};
use crate::model::BackendKind;
use serde::{Deserialize, Serialize};
use sha1::Digest as _;
use std::fmt;

/// How long after its deadline a trial continues while it is being confirmed, in nanoseconds: a process that hangs while
/// writing to the cluster file system must not prolong the trial forever.
const MAX_CONFIRMING: u64 = 10_000_000_000;
/// The same for a confirmed trial, until the tree contains its files.
const MAX_CONFIRMED: u64 = 60_000_000_000;
/// How long after its start a trial tolerates a tree with another content than it replaces, in nanoseconds: the starting
/// process may have read a change that the daemon accepts later.
const START_TOLERANCE: u64 = 3_000_000_000;

/// The SHA-1 of a file's content, in hexadecimal digits. An absent file counts as empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(String);

impl Digest {
    /// The digest of a content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Digest(sha1::Sha1::digest(content).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A point in time on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The kernel's id of this boot.
    pub boot: String,
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`), independent of the wall clock.
    pub now: u64,
}

/// A file on trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its path relative to the configuration tree, such as `firewall/cluster.fw`.
    pub path: String,
    /// The digest of the file that it replaces, at the start of the trial.
    pub replaces: Digest,
    /// The content.
    pub content: Content,
}

/// A trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The boot id.
    pub boot: String,
    /// The start time on the boot clock. Unique within a boot, so it identifies the trial.
    pub began: u64,
    /// The end time on the boot clock, unless it is confirmed.
    pub deadline: u64,
    /// The backends that enforce the configuration before and during the trial: one, or both if the files select the other.
    pub backends: Vec<BackendKind>,
    /// The files, with different paths.
    pub files: Vec<Candidate>,
}

/// The state of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Not confirmed.
    None,
    /// A process is writing the files to the tree.
    InProgress,
    /// The files are written, but the accepted tree may not contain them yet.
    Done,
}

/// Whether a trial is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// Its files are applied.
    Runs,
    /// It has ended; only the tree is applied.
    Over(TrialEnd),
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrialEnd {
    /// The tree contains its files.
    Confirmed,
    /// It was not confirmed in time.
    Expired,
    /// The machine was rebooted.
    Rebooted,
    /// This file of the tree was changed.
    Changed(String),
    /// It was reverted.
    Reverted,
}

impl Trial {
    /// Whether it is running with this tree at this time. `confirmation` is called only if needed.
    #[must_use]
    pub fn state(&self, tree: &Tree, clock: &Clock, confirmation: impl FnOnce() -> Confirmation) -> TrialState {
        if self.boot != clock.boot {
            return TrialState::Over(TrialEnd::Rebooted);
        }
        let mut written = 0;
        for file in &self.files {
            match file.state(tree) {
                State::Written => written += 1,
                State::Untouched => {}
                State::Changed if self.has_just_started(clock) => {}
                State::Changed => return TrialState::Over(TrialEnd::Changed(file.path.clone())),
            }
        }
        if written == self.files.len() {
            return TrialState::Over(TrialEnd::Confirmed);
        }
        if clock.now < self.deadline {
            return TrialState::Runs;
        }
        let longer = match confirmation() {
            Confirmation::None => 0,
            Confirmation::InProgress => MAX_CONFIRMING,
            Confirmation::Done => MAX_CONFIRMED,
        };
        if clock.now < self.deadline.saturating_add(longer) {
            TrialState::Runs
        } else {
            TrialState::Over(TrialEnd::Expired)
        }
    }

    /// Whether it has just started, so that the accepted tree may not contain the replaced files yet.
    #[must_use]
    pub fn has_just_started(&self, clock: &Clock) -> bool {
        clock.now < self.began.saturating_add(START_TOLERANCE)
    }

    /// The tree with the files of the trial in place of its own.
    #[must_use]
    pub fn overlay(&self, tree: &Tree) -> Tree {
        let mut tree = tree.clone();
        for Candidate { path, content, replaces: _ } in &self.files {
            match content.is_empty() {
                // an empty file is not in the tree
                true => drop(tree.files.remove(path.as_str())),
                false => drop(tree.files.insert(path.as_str().into(), File::Content(content.clone()))),
            }
        }
        tree
    }

    /// Nanoseconds until the deadline; 0 once it has passed.
    #[must_use]
    pub fn left(&self, clock: &Clock) -> u64 {
        if self.boot == clock.boot { self.deadline.saturating_sub(clock.now) } else { 0 }
    }

    /// The names of its files: `cluster.fw, 100.fw`.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> =
            self.files.iter().map(|file| file.path.rsplit('/').next().unwrap_or(&file.path)).collect();
        names.join(", ")
    }
}

/// The state of the file that a candidate replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Untouched,
    Written,
    Changed,
}

impl Candidate {
    fn state(&self, tree: &Tree) -> State {
        let now = match tree.files.get(self.path.as_str()) {
            // its content is unknown
            Some(File::Unreadable(_)) => return State::Untouched,
            Some(File::Content(content)) => &content[..],
            None => &[],
        };
        if *now == *self.content {
            State::Written
        } else if Digest::of(now) == self.replaces {
            State::Untouched
        } else {
            State::Changed
        }
    }
}

impl fmt::Display for TrialEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrialEnd::Confirmed => f.write_str("confirmed"),
            TrialEnd::Expired => f.write_str("reverted: it was not confirmed in time"),
            TrialEnd::Rebooted => f.write_str("reverted: the node was rebooted"),
            TrialEnd::Changed(path) => write!(f, "reverted: {path} was changed meanwhile"),
            TrialEnd::Reverted => f.write_str("reverted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NONE: Confirmation = Confirmation::None;
    const IN_PROGRESS: Confirmation = Confirmation::InProgress;
    const DONE: Confirmation = Confirmation::Done;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| ((*path).into(), File::Content(text.as_bytes().into()));
        Tree { root: "/etc/pve".into(), files: files.iter().map(file).collect() }
    }

    fn clock(boot: &str, seconds: u64) -> Clock {
        Clock { boot: boot.into(), now: seconds * SECOND }
    }

    fn candidate(path: &str, old: &str, new: &str) -> Candidate {
        Candidate { path: path.into(), replaces: Digest::of(old.as_bytes()), content: new.as_bytes().into() }
    }

    /// A trial of two files, one of which does not exist yet, from second 100 to second 160.
    fn trial() -> Trial {
        let files = vec![candidate("firewall/cluster.fw", "old", "new"), candidate("firewall/100.fw", "", "guest")];
        Trial {
            boot: "b1".into(),
            began: 100 * SECOND,
            deadline: 160 * SECOND,
            backends: vec![BackendKind::Iptables],
            files,
        }
    }

    #[test]
    fn a_trial_has_one_reason_for_its_end() {
        let (cluster, guest) = ("firewall/cluster.fw", "firewall/100.fw");
        let changed = |path: &str| TrialState::Over(TrialEnd::Changed(path.into()));
        for (files, boot, second, confirmation, state) in [
            (&[(cluster, "old")][..], "b1", 100, NONE, TrialState::Runs),
            (&[(cluster, "old")], "b1", 159, NONE, TrialState::Runs),
            (&[(cluster, "old")], "b1", 160, NONE, TrialState::Over(TrialEnd::Expired)),
            // the boot clock of another boot is not comparable
            (&[(cluster, "old")], "b2", 120, NONE, TrialState::Over(TrialEnd::Rebooted)),
            (&[(cluster, "other")], "b1", 120, NONE, changed(cluster)),
            (&[], "b1", 120, NONE, changed(cluster)),
            (&[(cluster, "old"), (guest, "other")], "b1", 120, NONE, changed(guest)),
            // partly written by a confirmation, then completely
            (&[(cluster, "new")], "b1", 120, NONE, TrialState::Runs),
            (&[(cluster, "new"), (guest, "guest")], "b1", 120, NONE, TrialState::Over(TrialEnd::Confirmed)),
            (&[(cluster, "new"), (guest, "guest")], "b1", 900, NONE, TrialState::Over(TrialEnd::Confirmed)),
            (&[(cluster, "new")], "b1", 160, NONE, TrialState::Over(TrialEnd::Expired)),
            (&[(cluster, "new")], "b1", 160, IN_PROGRESS, TrialState::Runs),
            (&[(cluster, "old")], "b1", 169, IN_PROGRESS, TrialState::Runs),
            (&[(cluster, "old")], "b1", 170, IN_PROGRESS, TrialState::Over(TrialEnd::Expired)),
            (&[(cluster, "new"), (guest, "other")], "b1", 120, IN_PROGRESS, changed(guest)),
            (&[(cluster, "old")], "b1", 219, DONE, TrialState::Runs),
            (&[(cluster, "old")], "b1", 220, DONE, TrialState::Over(TrialEnd::Expired)),
            (&[(cluster, "other")], "b1", 120, DONE, changed(cluster)),
            // a change that is not accepted yet
            (&[(cluster, "older")], "b1", 102, NONE, TrialState::Runs),
            (&[(cluster, "older")], "b1", 103, NONE, changed(cluster)),
        ] {
            let now = trial().state(&tree(files), &clock(boot, second), || confirmation);
            assert_eq!(now, state, "{files:?} {second}");
        }
    }

    #[test]
    fn an_unreadable_file_does_not_end_a_trial() {
        let mut tree = tree(&[]);
        tree.files.insert("firewall/cluster.fw".into(), File::Unreadable("it is locked".into()));
        assert_eq!(trial().state(&tree, &clock("b1", 120), || NONE), TrialState::Runs);
        let overlaid = trial().overlay(&tree);
        assert_eq!(overlaid.content("firewall/cluster.fw"), Some(&b"new"[..]));
    }

    #[test]
    fn the_files_of_a_trial_are_in_place_of_those_of_the_tree() {
        let base = tree(&[("firewall/cluster.fw", "old"), ("firewall/101.fw", "kept")]);
        let wanted = tree(&[("firewall/cluster.fw", "new"), ("firewall/100.fw", "guest"), ("firewall/101.fw", "kept")]);
        assert_eq!(trial().overlay(&base), wanted);
        let emptied = Trial { files: vec![candidate("firewall/cluster.fw", "old", "")], ..trial() };
        assert_eq!(emptied.overlay(&base), tree(&[("firewall/101.fw", "kept")]));
    }

    #[test]
    fn remaining_time_and_name_of_a_trial() {
        let left = [100, 118, 160, 170].map(|second| trial().left(&clock("b1", second)) / SECOND);
        assert_eq!(left, [60, 42, 0, 0]);
        assert_eq!(trial().left(&clock("b2", 0)), 0);
        assert_eq!(trial().names(), "cluster.fw, 100.fw");
    }
}
