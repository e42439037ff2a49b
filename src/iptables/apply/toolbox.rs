//! What the steps of an update need to run the tools.
use super::early_restore::EarlyRestores;
use super::tool_variants::Variants;
use super::xtables_lock::XtablesLock;
use crate::system::files;
use crate::system::root_directory::Root;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The tools for every step.
#[derive(Debug)]
pub(super) struct Toolbox {
    pub root: Root,
    pub limit: Duration,
    pub variants: Variants,
    pub xtables_lock: XtablesLock,
    pub early: EarlyRestores,
    /// Whether scripts are kept for debugging.
    pub keeps_scripts: bool,
    /// The files whose last script could not be written, each with the reason.
    pub lost_scripts: Mutex<BTreeMap<String, String>>,
}

impl Toolbox {
    /// The tools with state files under `root`. Does not run them.
    pub fn new(root: &Root, limit: Duration, variants: Variants) -> Self {
        Toolbox {
            root: root.clone(),
            limit,
            variants,
            xtables_lock: XtablesLock::new(),
            early: EarlyRestores::default(),
            keeps_scripts: true,
            lost_scripts: Mutex::default(),
        }
    }

    /// Writes a script to the state directory, for debugging.
    pub fn keep(&self, path: &str, script: &str) {
        if !self.keeps_scripts {
            return;
        }
        let written = files::replace(&self.root.path(path), script.as_bytes(), 0o600);
        let mut lost = self.lost_scripts.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(()) => lost.remove(path),
            Err(error) => lost.insert(path.to_string(), format!("{error:#}")),
        };
    }
}
