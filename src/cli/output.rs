//! Standard output carries data, standard error everything else.
use super::style::{BAD, paint};
use crate::model::Report;
use anstream::stream::{IsTerminal, RawStream};
use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, Result};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// The text as a stream takes it. Colour goes to a terminal only, and to none whose user has set NO_COLOR
/// (<https://no-color.org>). Programs that read get none whatever the environment says.
fn styled(text: &str, stream: &impl RawStream) -> Vec<u8> {
    let choice = if stream.is_terminal() { AutoStream::choice(stream) } else { ColorChoice::Never };
    let mut styled = AutoStream::new(Vec::new(), choice);
    // a vector takes everything
    let _ = styled.write_all(text.as_bytes());
    styled.into_inner()
}

/// Whether it is a person who reads standard output.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes data. A reader that has gone (`| head`) is no failure.
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

/// Writes a line to standard error, if anybody listens; at once, for others may write there too.
pub(super) fn note(line: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(&styled(&format!("{line}\n"), &stderr));
}

/// Writes why the command failed.
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
