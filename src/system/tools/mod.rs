//! Running external tools: found through PATH, with a time limit; no process is left running.
mod lines;
mod prestarted;
mod process;

pub use self::prestarted::PrestartedTool;

use self::lines::PipedLines;
use self::process::{ended_within, spawn, wait};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Directories of system tools, searched after PATH.
const SYSTEM_PATH: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The capacity of a pipe, in bytes: what is written to it without blocking.
pub const PIPE_CAPACITY: usize = 64 << 10;

/// Why a tool failed. The text includes a remedy.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// PATH has no executable with this name.
    #[error("'{0}' is not installed; install the Debian package that has it")]
    Missing(String),
    /// The process could not be started.
    #[error("cannot run '{tool}': {error}")]
    Start {
        /// The tool.
        tool: String,
        /// The reason.
        error: io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("'{tool}' did not end within {seconds} s and was killed; check whether another program blocks it")]
    TimedOut {
        /// The tool.
        tool: String,
        /// The limit.
        seconds: u64,
    },
    /// It ended with an error.
    #[error("'{tool}' failed ({}): {}", exit_text(*.status), first_lines(.stderr))]
    Failed {
        /// The tool.
        tool: String,
        /// Its exit status, as text.
        status: ExitStatus,
        /// Its output on standard error.
        stderr: String,
    },
}

fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit status".into(),
    }
}

/// The first lines of a tool's standard error, joined into one line.
fn first_lines(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Try `"));
    if lines().next().is_none() {
        return "it printed no reason; run it manually".into();
    }
    lines().take(3).collect::<Vec<_>>().join("; ")
}

impl ToolError {
    /// The tool's standard error; empty if it did not run to its end.
    #[must_use]
    pub fn stderr(&self) -> &str {
        if let ToolError::Failed { stderr, .. } = self { stderr } else { "" }
    }

    /// Whether the tool ran and exited with an error status, as it does for input that it refuses.
    #[must_use]
    pub fn is_exit_status(&self) -> bool {
        matches!(self, ToolError::Failed { status, .. } if status.code().is_some())
    }
}

/// The absolute path of a tool: the first executable file of this name in PATH, or in `SYSTEM_PATH`.
#[must_use]
pub fn find(tool: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        path.is_absolute() && path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&search_path()).map(|directory| directory.join(tool)).find(executable)
}

fn search_path() -> OsString {
    let mut directories: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    directories.extend(SYSTEM_PATH.map(PathBuf::from));
    std::env::join_paths(directories).unwrap_or_else(|_| SYSTEM_PATH.join(":").into())
}

/// A file that a tool inherits as descriptor 3, and an environment variable: for a tool that runs while this process has a lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// The file.
    pub file: Option<BorrowedFd<'a>>,
    /// The name of the variable, and its value.
    pub variable: Option<(&'a str, &'a str)>,
}

/// Runs a tool with `input` on its standard input and returns what it wrote to standard output.
///
/// It runs with `LC_ALL=C` in its own process group. When it has ended, or `limit` has passed, all processes of the group
/// are killed.
///
/// # Errors
/// When the tool is missing, cannot be started, exceeds the limit, or ends with an exit status other than 0.
pub fn run(tool: &str, args: &[&str], input: &str, limit: Duration) -> Result<String, ToolError> {
    run_with(tool, args, input, limit, Extras::default())
}

/// Like [`run`], with a file and a variable for the tool.
///
/// # Errors
/// As for [`run`].
pub fn run_with(
    tool: &str,
    args: &[&str],
    input: &str,
    limit: Duration,
    extras: Extras<'_>,
) -> Result<String, ToolError> {
    let stdin = memory_file(input.as_bytes()).map_err(|error| ToolError::Start { tool: tool.into(), error })?;
    run_on(tool, args, &stdin, limit, extras)
}

/// Like [`run_with`], with a file as standard input, which the tool may also change as `/proc/self/fd/0`.
///
/// # Errors
/// As for [`run`].
pub fn run_on(
    tool: &str,
    args: &[&str],
    stdin: &File,
    limit: Duration,
    extras: Extras<'_>,
) -> Result<String, ToolError> {
    let start = |error| ToolError::Start { tool: tool.into(), error };
    let mut stdout = memory_file(b"").map_err(start)?;
    finish(tool, args, [stdin, &stdout], extras, limit, |child| ended_within(child, limit))?;
    stdout.rewind().and_then(|()| content(&mut stdout)).map_err(start)
}

/// Like [`run`] without input; `take` gets the lines of the output one by one as they are written, without line ends. If the
/// tool fails, these lines must be ignored.
///
/// # Errors
/// As for [`run`].
pub fn lines(tool: &str, args: &[&str], limit: Duration, mut take: impl FnMut(&str)) -> Result<(), ToolError> {
    let start = |error| ToolError::Start { tool: tool.into(), error };
    let stdin = memory_file(b"").map_err(start)?;
    let mut output = PipedLines::open().map_err(start)?;
    let stdout = output.writer().map_err(start)?;
    finish(tool, args, [&stdin, &stdout], Extras::default(), limit, |child| output.read_lines(child, limit, &mut take))
}

/// Like [`lines()`], but returns the lines for which `keep` is true, each with a line feed.
///
/// # Errors
/// As for [`run`].
pub fn kept_lines(
    tool: &str,
    args: &[&str],
    limit: Duration,
    keep: impl Fn(&str) -> bool,
) -> Result<String, ToolError> {
    let mut kept = String::new();
    lines(tool, args, limit, |line| {
        if keep(line) {
            kept.push_str(line);
            kept.push('\n');
        }
    })?;
    Ok(kept)
}

/// Waits for the end of a tool; `until_end` returns whether it ended within the limit.
fn finish(
    tool: &str,
    args: &[&str],
    [stdin, stdout]: [&File; 2],
    extras: Extras<'_>,
    limit: Duration,
    until_end: impl FnOnce(Pid) -> io::Result<bool>,
) -> Result<(), ToolError> {
    let (child, stderr) = start(tool, args, [stdin, stdout], extras)?;
    ended(tool, child, stderr, limit, until_end)
}

/// Starts a tool; also returns the file for its standard error.
fn start(tool: &str, args: &[&str], [stdin, stdout]: [&File; 2], extras: Extras<'_>) -> Result<(Pid, File), ToolError> {
    let program = find(tool).ok_or_else(|| ToolError::Missing(tool.into()))?;
    let cannot_start = |error| ToolError::Start { tool: tool.into(), error };
    let stderr = memory_file(b"").map_err(cannot_start)?;
    let child = spawn(&program, args, [stdin, stdout, &stderr], extras).map_err(cannot_start)?;
    Ok((child, stderr))
}

/// Waits for the end of a tool.
fn ended(
    tool: &str,
    child: Pid,
    mut stderr: File,
    limit: Duration,
    until_end: impl FnOnce(Pid) -> io::Result<bool>,
) -> Result<(), ToolError> {
    let failed = |error| ToolError::Start { tool: tool.into(), error };
    let status = wait(child, until_end).map_err(failed)?;
    let Some(status) = status else { return Err(ToolError::TimedOut { tool: tool.into(), seconds: limit.as_secs() }) };
    if status.success() {
        return Ok(());
    }
    let stderr = stderr.rewind().and_then(|()| content(&mut stderr)).map_err(failed)?;
    Err(ToolError::Failed { tool: tool.into(), status, stderr })
}

/// A memfd: unlike with a pipe, the tool never blocks, and there is no waiting for background processes that keep it open.
///
/// # Errors
/// When there is no memory or no descriptor for it.
pub fn memory_file(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"tool", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn content(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{SigSet, Signal};
    use std::time::Instant;

    const LIMIT: Duration = Duration::from_secs(20);

    fn sh(script: &str, input: &str, limit: Duration) -> Result<String, ToolError> {
        run("sh", &["-c", script], input, limit)
    }

    #[test]
    fn input_and_output_of_any_size_pass() {
        let input = "0123456789abcdef\n".repeat(200_000);
        assert_eq!(sh("cat; cat >&2 /dev/null", &input, LIMIT).unwrap(), input);
        assert_eq!(sh("printf '\\377a'; echo $LC_ALL", "", LIMIT).unwrap(), "\u{fffd}aC\n");
    }

    #[test]
    fn any_number_of_lines_is_passed_on_as_it_is_written() {
        let taken = |script: &str, limit| {
            let (mut count, mut last) = (0_usize, String::new());
            let ended = lines("sh", &["-c", script], limit, |line| {
                count += 1;
                last = line.to_string();
            });
            (ended.map_err(|error| error.to_string()), count, last)
        };
        assert_eq!(taken("seq 200000", LIMIT), (Ok(()), 200_000, "200000".to_string()));
        assert_eq!(taken("printf 'a\\r\\n\\nb'", LIMIT), (Ok(()), 3, "b".to_string()));
        assert_eq!(taken("true", LIMIT), (Ok(()), 0, String::new()));
        assert_eq!(taken("echo one; exec >&-; sleep 0.2", LIMIT), (Ok(()), 1, "one".to_string()));
        let (failed, count, _) = taken("echo one; echo two >&2; exit 3", LIMIT);
        assert_eq!((failed, count), (Err("'sh' failed (exit status 3): two".to_string()), 1));
        // a background process keeps the pipe open
        let (ended, ..) = taken("sleep 1000 & echo x", LIMIT);
        assert_eq!(ended, Ok(()));
        let (late, ..) = taken("yes", Duration::from_millis(300));
        assert!(late.unwrap_err().contains("did not end within"));
    }

    #[test]
    fn errors_name_the_tool_and_its_exit_status() {
        let error = run("no-such-tool", &[], "", LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "'no-such-tool' is not installed; install the Debian package that has it");
        let error = sh("echo first >&2; echo second >&2; exit 3", "", LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "'sh' failed (exit status 3): first; second");
        assert!(error.is_exit_status() && error.stderr() == "first\nsecond\n");
        let error = sh("kill -9 $$", "", LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "'sh' failed (killed by signal 9): it printed no reason; run it manually");
        assert!(!error.is_exit_status());
    }

    /// Whether a process exists and is not a zombie.
    fn alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    fn await_end(pid: &str) {
        let deadline = Instant::now() + LIMIT;
        while alive(pid) {
            assert!(Instant::now() < deadline, "process {pid} was left running");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_slow_tool_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 1000 & echo $! $$ >{}; wait", pids.display());
        let error = sh(&script, "", Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, ToolError::TimedOut { .. }), "{error}");
        std::fs::read_to_string(&pids).unwrap().split_whitespace().for_each(await_end);
    }

    #[test]
    fn background_processes_of_a_tool_are_killed() {
        let pid = sh("sleep 1000 & echo $!", "", LIMIT).unwrap();
        await_end(pid.trim());
    }

    #[test]
    fn tools_do_not_inherit_blocked_signals() {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        let old = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).unwrap();
        let error = sh("kill -TERM $$; sleep 1000", "", LIMIT).unwrap_err();
        old.thread_set_mask().unwrap();
        assert!(error.to_string().contains("signal 15"), "{error}");
    }
}
