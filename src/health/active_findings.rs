//! Active findings with the time since when they are active, in the form of the status file.
use super::describe::{Affected, Severity};
use super::{Evidence, Finding, Scope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An active finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFinding {
    /// Its kind, a fixed word.
    pub kind: String,
    /// Its severity.
    pub severity: Severity,
    /// What is wrong.
    pub text: String,
    /// What is affected.
    pub affected: Affected,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What to do about it.
    pub remedy: String,
}

impl ActiveFinding {
    /// What is affected, as text: `node, guests 100, 101`.
    #[must_use]
    pub fn affected_text(&self) -> String {
        let guests: Vec<String> = self.affected.guests.iter().map(ToString::to_string).collect();
        let guests = match guests.len() {
            0 => None,
            1 => Some(format!("guest {}", guests[0])),
            _ => Some(format!("guests {}", guests.join(", "))),
        };
        let node = self.affected.node.then(|| "node".to_string());
        node.into_iter().chain(guests).collect::<Vec<_>>().join(", ")
    }

    /// The text, followed by what is affected.
    #[must_use]
    pub fn line(&self) -> String {
        match self.affected_text() {
            affected_text if affected_text.is_empty() => self.text.clone(),
            affected_text => format!("{} ({affected_text})", self.text),
        }
    }
}

/// The active findings, each with the time since when it is active.
#[derive(Clone, Debug, Default)]
pub struct ActiveFindings(BTreeMap<Finding, u64>);

impl ActiveFindings {
    /// Replaces the findings. Those that were active before keep their time, new ones get `now`, in seconds since 1970.
    pub fn set(&mut self, found: Vec<Finding>, now: u64) {
        let before = std::mem::take(&mut self.0);
        let with_time = |finding: Finding| {
            let since = before.get(&finding).copied().unwrap_or(now);
            (finding, since)
        };
        self.0 = found.into_iter().map(with_time).collect();
    }

    /// The texts of all.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.keys().map(Finding::text)
    }

    /// All of them, described.
    #[must_use]
    pub fn describe(&self, evidence: &Evidence, scope: &Scope) -> Vec<ActiveFinding> {
        let describe = |(finding, since): (&Finding, &u64)| ActiveFinding {
            kind: finding.kind().to_string(),
            severity: finding.severity(),
            text: finding.text(),
            affected: finding.affected(evidence, scope),
            since: *since,
            remedy: finding.remedy(),
        };
        self.0.iter().map(describe).collect()
    }
}
