//! Running the restore tools of iptables and ebtables.
use super::prestarted_restore::PrestartedRestores;
use super::tool_names::{Commands, RESTORE_ARGS, Variant};
use super::xtables_lock::XtablesLock;
use crate::iptables::plan::Part;
use crate::system::lock::FileLock;
use crate::system::tools::{self, Extras, ToolError};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Additional time limit per line of a script: the nft variant needs about 1 ms per rule with tens of thousands of rules.
const LINE_LIMIT: Duration = Duration::from_millis(5);

/// How long to wait for the locks of the legacy tools.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// A restore tool for one table.
pub(super) struct Restore<'a> {
    pub commands: &'a Commands,
    pub part: Part,
    pub limit: Duration,
    /// The lock file of ebtables-legacy.
    pub ebtables_lock: PathBuf,
    pub xtables_lock: &'a XtablesLock,
    pub prestarted: &'a PrestartedRestores,
}

/// Why a script failed.
pub(super) struct Failure {
    pub error: ToolError,
    /// The line reported by the tool, counted from 1.
    pub line: Option<usize>,
}

impl Failure {
    /// Whether the tool refused the script itself, instead of failing because of the state of the system.
    pub fn is_refusal(&self) -> bool {
        let stderr = self.error.stderr();
        let busy = ["xtables lock", "Resource temporarily unavailable", "Cannot allocate memory", "Permission denied"];
        self.error.is_exit_status() && !busy.iter().any(|text| stderr.contains(text))
    }

    /// The tool's reason, without parts that depend on the length of the script.
    pub fn reason(&self) -> String {
        let stderr = self.error.stderr();
        let line = stderr.lines().map(str::trim).find(|line| !line.is_empty() && !line.ends_with("(nf_tables):"));
        let line = line.unwrap_or("no reason given");
        if let Some((_, rest)) = line.split_once(" failed") {
            let why =
                rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(why, _)| format!(" ({why})"));
            return format!("the kernel refuses it{}", why.unwrap_or_default());
        }
        line.split_once("): ").map_or(line, |(_, text)| text).to_string()
    }
}

impl Restore<'_> {
    /// Runs a script as one transaction.
    pub fn run(&self, script: &str) -> Result<(), Failure> {
        let limit = self.limit + LINE_LIMIT * u32::try_from(script.lines().count()).unwrap_or(u32::MAX);
        let ran = match (self.part, self.commands.variant) {
            (Part::Bridge, Variant::Legacy) => return self.run_single(script),
            (Part::Bridge, Variant::Nft) => tools::run(&self.commands.restore, &["--noflush"], script, limit).map(drop),
            (_, Variant::Nft) => tools::run(&self.commands.restore, &RESTORE_ARGS, script, limit).map(drop),
            (part, Variant::Legacy) => {
                self.prestarted.run(part, script, limit).unwrap_or_else(|| self.run_locked(script, limit))
            }
        };
        ran.map_err(|error| Failure { line: reported_line(error.stderr()), error })
    }

    /// Runs a tool of iptables-legacy while this process has its lock.
    fn run_locked(&self, script: &str, limit: Duration) -> Result<(), ToolError> {
        let tool = &self.commands.restore;
        let lock = self.xtables_lock.hold(LOCK_WAIT).map_err(|error| {
            let text = format!("Another app is currently holding the xtables lock: {error:#}");
            ToolError::Start { tool: tool.clone(), error: io::Error::other(text) }
        })?;
        tools::run_with(tool, &RESTORE_ARGS, script, limit, lock.extras()).map(drop)
    }

    /// ebtables-legacy cannot restore parts of a table: single commands change a copy, which then replaces the table. The copy
    /// is a file without a name, so that no directory has to be writable for it.
    fn run_single(&self, script: &str) -> Result<(), Failure> {
        let cannot_start =
            |error| Failure { error: ToolError::Start { tool: self.commands.single.clone(), error }, line: None };
        let _lock = self.lock_ebtables().map_err(|error| cannot_start(io::Error::other(format!("{error:#}"))))?;
        let run = |copy: &File, args: &[&str], line| {
            let all = [&["-t", "filter", "--atomic-file", "/proc/self/fd/0"], args].concat();
            let ran = tools::run_on(&self.commands.single, &all, copy, self.limit, Extras::default());
            ran.map(drop).map_err(|error| Failure { error, line })
        };
        let change = |copy: &File, (at, line): (usize, &str)| match line.as_bytes() {
            [b':', ..] => run(copy, &["-N", line[1..].split(' ').next().unwrap_or_default()], Some(at + 1)),
            [b'-', ..] => run(copy, &line.split_ascii_whitespace().collect::<Vec<_>>(), Some(at + 1)),
            _ => Ok(()),
        };
        let copy = tools::memory_file(b"").map_err(cannot_start)?;
        run(&copy, &["--atomic-save"], None)?;
        script.lines().enumerate().try_for_each(|line| change(&copy, line))?;
        run(&copy, &["--atomic-commit"], None)
    }

    /// Prevents other programs from changing the table between the copy and the replacement. `--concurrent` would lock for each
    /// single command, and fail if the lock file cannot be created; in that case this continues without a lock.
    fn lock_ebtables(&self) -> anyhow::Result<Option<FileLock>> {
        FileLock::acquire_if_possible(&self.ebtables_lock, LOCK_WAIT)
    }

    /// Whether the reported line is certainly the refused one, because each line is a separate command.
    pub fn is_exact(&self) -> bool {
        self.part == Part::Bridge && self.commands.variant == Variant::Legacy
    }
}

/// The first line number in the error of a restore tool: `Error occurred at line: N`, `line N: …`, `Error in line N: …`.
pub(super) fn reported_line(stderr: &str) -> Option<usize> {
    stderr.lines().find_map(|line| {
        let (_, rest) = line.split_once("line")?;
        let rest = rest.trim_start_matches([':', ' ']);
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_numbers_are_found_in_error_messages_of_the_tools() {
        for (stderr, line) in [
            (
                "iptables-restore v1.8.9 (legacy): unknown option \"--bogus\"\nError occurred at line: 4\nTry `x -h'",
                Some(4),
            ),
            ("iptables-restore: line 8 failed\n", Some(8)),
            (
                "iptables-nft-restore v1.8.9 (nf_tables): \nline 5: RULE_APPEND failed (Invalid argument): rule in chain A",
                Some(5),
            ),
            ("ipset v7.17: Error in line 3: Element cannot be added to the set: it's already added", Some(3)),
            ("Another app is currently holding the xtables lock.", None),
            ("", None),
        ] {
            assert_eq!(reported_line(stderr), line, "{stderr}");
        }
    }
}
