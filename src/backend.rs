//! The backends, which compile a configuration and make the rules live. An enum and no trait object: there are two.
//!
//! The daemon sees this module alone.
pub use crate::iptables::apply::{FULL_READING, VariantChoice};
pub use crate::iptables::compile::Compiled;
pub use crate::iptables::ruleset::Ruleset;

use crate::inputs::{Facts, Tree};
use crate::iptables::apply;
use crate::iptables::backend::Iptables;
use crate::system::root::Root;
use std::time::{Duration, Instant};

/// A backend, as one process uses it. Keep one for the process's life: it remembers what it has made.
///
/// Nothing here takes the lock that keeps other runs out; callers do.
pub enum Backend {
    /// iptables, ip6tables, ipset and ebtables.
    Iptables(Box<Iptables>),
}

/// What an update did and could not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything in the kernel was changed.
    pub changed: bool,
    /// What could not be done. A text is the same each time for as long as the error stands.
    pub errors: Vec<String>,
}

impl Backend {
    /// The backend of this node. Nothing is run yet. State files lie under `root`; compiling uses so many threads.
    #[must_use]
    pub fn new(root: &Root, variant: VariantChoice, threads: usize) -> Self {
        Backend::Iptables(Box::new(Iptables::new(root, variant, threads)))
    }

    /// Changes how often everything is read though nothing seems to have changed; by default every five minutes.
    pub fn set_full_reading(&mut self, interval: Duration) {
        match self {
            Backend::Iptables(iptables) => iptables.set_full_reading(interval),
        }
    }

    /// Compiles a configuration. The kernel is read only where a guest has an unreadable file: its devices with live rules
    /// keep them.
    pub fn compile(&mut self, tree: &Tree, facts: Facts) -> Compiled {
        match self {
            Backend::Iptables(iptables) => iptables.compile(tree, facts),
        }
    }

    /// Whether rules are live.
    pub fn is_live(&mut self) -> bool {
        match self {
            Backend::Iptables(iptables) => iptables.is_live(),
        }
    }

    /// Makes the compiled rules live, with little effort where nothing has happened since the last call.
    pub fn maintain(&mut self, compiled: &Compiled) -> Outcome {
        match self {
            Backend::Iptables(iptables) => iptables.maintain(compiled).into(),
        }
    }

    /// When [`Backend::maintain`] has something to do though nothing changes.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match self {
            Backend::Iptables(iptables) => iptables.due(),
        }
    }

    /// Removes all rules.
    pub fn remove(&mut self) -> Outcome {
        match self {
            Backend::Iptables(iptables) => iptables.remove().into(),
        }
    }
}

impl From<apply::Outcome> for Outcome {
    fn from(apply::Outcome { changed, faults }: apply::Outcome) -> Self {
        Outcome { changed, errors: faults.iter().map(ToString::to_string).collect() }
    }
}
