//! The file that switches logging of connections on and off in the log daemon.
use crate::paths::{LOG_CONNTRACK, LOGGER_PID};
use crate::system::root_directory::Root;
use crate::system::{files, pid_file};
use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Writes the switch if it differs, and then signals the log daemon.
pub(super) fn switch(root: &Root, wanted: bool) -> Result<()> {
    let path = root.path(LOG_CONNTRACK);
    let now = files::read_optional(&path)?.is_some_and(|content| content.trim_ascii() == b"1");
    if now == wanted {
        return Ok(());
    }
    files::replace(&path, if wanted { b"1" } else { b"0" }, 0o644)?;
    // if it is not running, it reads the file when it starts
    if let Some(pid) = pid_file::running(&root.path(LOGGER_PID), "pvefw-logger") {
        kill(Pid::from_raw(pid), Signal::SIGHUP)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_switch_is_written_where_it_differs() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path().into()));
        let path = root.path(LOG_CONNTRACK);
        switch(&root, false).unwrap();
        assert!(!path.exists());
        switch(&root, true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1");
        switch(&root, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"0");
    }
}
