//! A tool that is started before all of its input is known.
use super::process::{ended_within, wait};
use super::{Extras, ToolError, ended, memory_file, start};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Pid, pipe2};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// A running tool that waits for the rest of its standard input. It is killed on drop.
#[derive(Debug)]
pub struct PrestartedTool {
    tool: String,
    stdin: File,
    stderr: File,
    child: Child,
}

/// A process that is killed and reaped on drop, unless its end is awaited elsewhere.
#[derive(Debug)]
struct Child(Option<Pid>);

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            let _ = wait(child, |_| Ok(false));
        }
    }
}

impl PrestartedTool {
    /// Starts a tool with the beginning of its standard input.
    ///
    /// # Errors
    /// When the tool is missing, or cannot be started.
    pub fn new(tool: &str, args: &[&str], beginning: &str, extras: Extras<'_>) -> Result<Self, ToolError> {
        let cannot_start = |error| ToolError::Start { tool: tool.into(), error };
        let (reader, mut stdin) = pipe().map_err(cannot_start)?;
        stdin.write_all(beginning.as_bytes()).map_err(cannot_start)?;
        let stdout = memory_file(b"").map_err(cannot_start)?;
        let (child, stderr) = start(tool, args, [&reader, &stdout], extras)?;
        Ok(PrestartedTool { tool: tool.into(), stdin, stderr, child: Child(Some(child)) })
    }

    /// Passes the rest of the input to the tool, and waits for its end.
    ///
    /// # Errors
    /// When the input is longer than [`PIPE_CAPACITY`](super::PIPE_CAPACITY), the tool exceeds the limit, or ends with an exit
    /// status other than 0.
    pub fn finish(self, rest: &str, limit: Duration) -> Result<(), ToolError> {
        let PrestartedTool { tool, mut stdin, stderr, mut child } = self;
        match stdin.write_all(rest.as_bytes()) {
            // the tool has ended: its exit status says more
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.map_err(|error| ToolError::Start { tool: tool.clone(), error })?,
        }
        drop(stdin);
        let Some(child) = child.0.take() else { return Ok(()) };
        ended(&tool, child, stderr, limit, |child| ended_within(child, limit))
    }
}

/// A pipe: the end to read from, and the end to write to, which does not block.
fn pipe() -> io::Result<(File, File)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader.into(), writer.into()))
}

#[cfg(test)]
mod tests {
    use super::super::PIPE_CAPACITY;
    use super::*;
    use std::time::Instant;

    const LIMIT: Duration = Duration::from_secs(20);

    fn sh(script: &str, beginning: &str) -> PrestartedTool {
        PrestartedTool::new("sh", &["-c", script], beginning, Extras::default()).unwrap()
    }

    #[test]
    fn the_tool_gets_the_beginning_at_once_and_the_rest_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        let script = format!("read one; echo $one > {0}; cat >> {0}", path.display());
        let started = sh(&script, "one\n");
        let deadline = Instant::now() + LIMIT;
        while std::fs::read_to_string(&path).unwrap_or_default() != "one\n" {
            assert!(Instant::now() < deadline, "the tool has not read the beginning");
        }
        let rest = "two\n".repeat(PIPE_CAPACITY / 4 - 1);
        started.finish(&rest, LIMIT).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("one\n{rest}"));
    }

    #[test]
    fn errors_are_those_of_a_tool_that_gets_its_input_at_once() {
        let failed = sh("echo no >&2; exit 3", "one\n");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(failed.finish("two\n", LIMIT).unwrap_err().to_string(), "'sh' failed (exit status 3): no");
        let late = sh("sleep 1000", "").finish("", Duration::from_millis(300)).unwrap_err();
        assert!(late.to_string().contains("did not end within"), "{late}");
        let long = sh("sleep 1000", "").finish(&"x".repeat(2 * PIPE_CAPACITY), LIMIT).unwrap_err();
        assert!(long.to_string().contains("cannot run 'sh'"), "{long}");
    }

    #[test]
    fn a_tool_that_is_not_needed_is_killed() {
        let started = sh("sleep 1000", "");
        let child = started.child.0.unwrap();
        drop(started);
        assert!(nix::sys::signal::kill(child, None).is_err(), "{child} still runs");
    }
}
