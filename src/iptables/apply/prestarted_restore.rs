//! Restore tools that are started before the rules are compiled. A legacy tool first reads the whole table, which takes a third of
//! its time, and then the script: it reads the table while the configuration is read and compiled.
use super::tool_names::{Commands, RESTORE_ARGS, Variant};
use super::xtables_lock::{Held, XtablesLock};
use crate::iptables::plan::{Part, TableName};
use crate::model::Family;
use crate::system::tools::{PIPE_CAPACITY, PrestartedTool, ToolError};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// With fewer chains, a tool reads the table in a few milliseconds.
const WORTH: usize = 1000;

/// The tools that wait for a script, by the part of the rules.
#[derive(Debug, Default)]
pub(super) struct PrestartedRestores(Mutex<BTreeMap<Part, Waiting>>);

/// A tool that waits for a script; other programs that change rules wait until it ends.
#[derive(Debug)]
struct Waiting {
    tool: PrestartedTool,
    /// The line of the script that it has got, from which it knows the table to read.
    first_line: String,
    lock: Held,
    since: Instant,
}

impl PrestartedRestores {
    /// Starts the tool for a table with this number of live chains, if it saves time and no other program changes rules.
    pub fn start(&self, (table, family): (TableName, Family), commands: &Commands, chains: usize, lock: &XtablesLock) {
        let part = Part::Table(table, family);
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.variant != Variant::Legacy || chains < WORTH || waiting.contains_key(&part) {
            return;
        }
        // without it, the tools of both families would take the lock themselves, and one would wait for the other
        let Some(lock) = lock.hold(Duration::ZERO).ok().filter(Held::is_shared) else { return };
        let first_line = format!("*{}\n", table.as_str());
        // an update starts the tool again, and reports the error
        if let Ok(tool) = PrestartedTool::new(&commands.restore, &RESTORE_ARGS, &first_line, lock.extras()) {
            waiting.insert(part, Waiting { tool, first_line, lock, since: Instant::now() });
        }
    }

    /// Runs the script with the tool for that part; `None` if none waits, or it cannot take this script.
    pub fn run(&self, part: Part, script: &str, limit: Duration) -> Option<Result<(), ToolError>> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&part);
        let Waiting { tool, first_line, lock: _lock, since: _ } = waiting?;
        let rest = script.strip_prefix(&first_line).filter(|_| script.len() < PIPE_CAPACITY)?;
        Some(tool.finish(rest, limit))
    }

    /// Ends the tools that have waited for this time.
    pub fn end(&self, after: Duration) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, waiting| waiting.since.elapsed() < after);
    }
}
