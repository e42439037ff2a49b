//! The tools that the steps of an update run, with their state.
use super::prestarted_restore::PrestartedRestores;
use super::tool_variants::Variants;
use super::xtables_lock::XtablesLock;
use crate::system::files;
use crate::system::root_directory::Root;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The tools for every step.
#[derive(Debug)]
pub(super) struct Tools {
    pub root: Root,
    pub limit: Duration,
    pub variants: Variants,
    pub xtables_lock: XtablesLock,
    pub prestarted: PrestartedRestores,
    /// Whether scripts are saved for debugging.
    pub saves_scripts: bool,
    /// The files to which the last script could not be written, each with the reason.
    pub unsaved_scripts: Mutex<BTreeMap<String, String>>,
}

impl Tools {
    /// The tools with state files under `root`. Does not run them.
    pub fn new(root: &Root, limit: Duration, variants: Variants) -> Self {
        Tools {
            root: root.clone(),
            limit,
            variants,
            xtables_lock: XtablesLock::new(root),
            prestarted: PrestartedRestores::default(),
            saves_scripts: true,
            unsaved_scripts: Mutex::default(),
        }
    }

    /// Writes a script to the state directory, for debugging.
    pub fn save_script(&self, path: &str, script: &str) {
        if !self.saves_scripts {
            return;
        }
        let written = files::replace(&self.root.path(path), script.as_bytes(), 0o600);
        let mut lost = self.unsaved_scripts.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(()) => lost.remove(path),
            Err(error) => lost.insert(path.to_string(), format!("{error:#}")),
        };
    }
}
