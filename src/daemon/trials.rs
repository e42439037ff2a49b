//! Trials in the daemon: the files of a trial are applied in place of those in the tree until it ends.
use super::problems::Problem;
use super::system_log::SystemLog;
use crate::inputs::Tree;
use crate::system::root_directory::Root;
use crate::system::syslog::Severity;
use crate::trial::{Clock, Confirmation, Trial, TrialEnd, TrialState, TrialStore, Watch};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The delay before checking a trial again whose deadline has passed during a confirmation, or whose replaced files are not
/// yet in the accepted tree.
const RECHECK_DELAY: Duration = Duration::from_millis(200);

/// The status of a running trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialStatus {
    /// When the trial began, in nanoseconds on the boot clock; it identifies the trial.
    pub began: u64,
    /// When it ends unless it is confirmed, in nanoseconds on the boot clock.
    pub deadline: u64,
    /// The paths of its files relative to the configuration tree.
    pub files: Vec<String>,
}

/// The running trial, and the previous one.
#[derive(Debug)]
pub struct Trials {
    store: TrialStore,
    watch: Option<Watch>,
    current: Option<Trial>,
    /// The tree with the files of the current trial, and the tree without them.
    overlaid: Option<(Arc<Tree>, Arc<Tree>)>,
    due: Option<Instant>,
    /// The previous trial.
    ended: Option<Trial>,
    problem: Option<String>,
}

impl Trials {
    /// For a node with this root directory.
    #[must_use]
    pub fn new(root: &Root) -> Self {
        let store = TrialStore::new(root);
        Trials { store, watch: None, current: None, overlaid: None, due: None, ended: None, problem: None }
    }

    /// The tree to apply, with the files of a trial in place of its own. A tree that is not `certain` may be outdated.
    pub fn enforced(&mut self, tree: &Arc<Tree>, certain: bool, log: &SystemLog) -> Arc<Tree> {
        if self.watch.is_none() {
            // without a watch, a trial is detected in the next cycle
            self.watch = self.store.watch().ok();
        }
        match self.check(tree, certain, log) {
            Ok(()) => self.problem = None,
            Err(error) => {
                self.problem = Some(format!("the trial in /run/pve-firewall/trial is ignored: {error:#}"));
                self.current = None;
            }
        }
        let Some(trial) = &self.current else {
            self.overlaid = None;
            return tree.clone();
        };
        match &self.overlaid {
            Some((below, overlaid)) if Arc::ptr_eq(below, tree) => overlaid.clone(),
            _ => {
                let overlaid = Arc::new(trial.overlay(tree));
                self.overlaid = Some((tree.clone(), overlaid.clone()));
                overlaid
            }
        }
    }

    fn check(&mut self, tree: &Tree, certain: bool, log: &SystemLog) -> anyhow::Result<()> {
        let (trial, confirmation) = match (self.store.load()?, self.current.clone()) {
            // it has ended but could not be removed
            (Some(trial), _) if self.ended.as_ref() == Some(&trial) => return self.remove(&trial),
            (Some(trial), _) => (trial, self.store.confirmation()),
            (None, None) => {
                self.due = None;
                return Ok(());
            }
            (None, Some(trial)) => match self.store.ended(&trial) {
                // the other daemon has accepted the files, which are not in this tree yet
                Some(TrialEnd::Confirmed) => (trial, Confirmation::Done),
                end => return self.end(trial, end.unwrap_or(TrialEnd::Reverted), log),
            },
        };
        let clock = TrialStore::clock()?;
        match trial.state(tree, &clock, || confirmation) {
            TrialState::Over(TrialEnd::Changed(_) | TrialEnd::Confirmed) if !certain => self.begin(trial, &clock, log),
            TrialState::Runs => self.begin(trial, &clock, log),
            TrialState::Over(end) => return self.end(trial, end, log),
        }
        Ok(())
    }

    fn remove(&mut self, trial: &Trial) -> anyhow::Result<()> {
        let removed = self.store.remove(trial)?;
        self.due = (!removed).then(|| Instant::now() + RECHECK_DELAY);
        Ok(())
    }

    fn begin(&mut self, trial: Trial, clock: &Clock, log: &SystemLog) {
        let left = Duration::from_nanos(trial.left(clock));
        let open = left.is_zero() || trial.has_just_started(clock);
        self.due = Some(Instant::now() + if open { RECHECK_DELAY } else { left });
        if self.current.as_ref() != Some(&trial) {
            let text = format!("trial of {}: in force for {} s", trial.names(), left.as_secs_f64().ceil());
            log.write(Severity::Notice, &text);
            (self.current, self.overlaid) = (Some(trial), None);
        }
    }

    fn end(&mut self, trial: Trial, end: TrialEnd, log: &SystemLog) -> anyhow::Result<()> {
        let severity = if matches!(end, TrialEnd::Changed(_)) { Severity::Warning } else { Severity::Notice };
        log.write(severity, &format!("trial of {}: {end}", trial.names()));
        self.store.record(&trial, &end);
        (self.current, self.ended) = (None, Some(trial.clone()));
        self.remove(&trial)
    }

    /// Whether a trial may have started, or its deadline has passed.
    #[must_use]
    pub fn has_event(&self) -> bool {
        // consume all events in any case
        self.watch.as_ref().is_some_and(Watch::has_event) | self.due.is_some_and(|due| Instant::now() >= due)
    }

    /// When to check the running trial again.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A descriptor that is readable when a trial may have started or ended.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// The status of the running trial.
    #[must_use]
    pub fn status(&self) -> Option<TrialStatus> {
        let Trial { boot: _, began, deadline, backends: _, files } = self.current.as_ref()?;
        let files = files.iter().map(|file| file.path.clone()).collect();
        Some(TrialStatus { began: *began, deadline: *deadline, files })
    }

    /// The error of an invalid trial.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problem.iter().map(Problem::failure).collect()
    }
}
