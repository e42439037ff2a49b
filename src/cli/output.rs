//! Standard output carries data, standard error everything else.
use crate::config::Report;
use anyhow::{Context, Result};
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Whether to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// With escape sequences.
    Yes,
    /// Text alone.
    No,
}

impl Colour {
    /// Colour goes to a terminal only, and to none whose user has set NO_COLOR (<https://no-color.org>).
    pub fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !unwanted { Colour::Yes } else { Colour::No }
    }
}

/// Writes data. A reader that has gone (`| head`) is no failure.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub(super) fn data(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

/// Writes a line to standard error, if anybody listens.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes reports to standard error.
pub(super) fn reports(reports: &[Report]) {
    let mut stderr = io::stderr().lock();
    for report in reports {
        let _ = writeln!(stderr, "{report}");
    }
}
