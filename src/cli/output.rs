//! Output: data to standard output, everything else to standard error.
use super::style::{BAD, paint};
use crate::model::Report;
use anstream::stream::{IsTerminal, RawStream};
use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, Result};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// The text for a stream. Colour is kept only for a terminal, unless NO_COLOR is set (<https://no-color.org>). Output to
/// programs never has colour.
fn styled(text: &str, stream: &impl RawStream) -> Vec<u8> {
    let choice = if stream.is_terminal() { AutoStream::choice(stream) } else { ColorChoice::Never };
    let mut styled = AutoStream::new(Vec::new(), choice);
    // writing to a vector never fails
    let _ = styled.write_all(text.as_bytes());
    styled.into_inner()
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes data. A closed pipe (`| head`) is not an error.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub(super) fn data(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&styled(text, &stdout)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

/// Writes a line to standard error in one write, because other processes may write there too; ignores failures.
pub(super) fn note(line: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(&styled(&format!("{line}\n"), &stderr));
}

/// Writes the error of a failed command.
pub(super) fn error(why: impl Display) {
    note(&format!("{} {why}", paint(BAD, "ERROR:")));
}

/// Writes reports to standard error.
pub(super) fn reports(reports: &[Report]) {
    let mut stderr = io::stderr().lock();
    for report in reports {
        let _ = writeln!(stderr, "{report}");
    }
}
