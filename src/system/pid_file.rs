//! The pid file of a daemon.
use super::files;
use anyhow::Result;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};

/// A pid file that is removed on drop.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the pid of this process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(path: PathBuf) -> Result<Self> {
        files::replace(&path, format!("{}\n", std::process::id()).as_bytes(), 0o644)?;
        Ok(PidFile(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = files::remove(&self.0);
    }
}

/// The pid in a pid file, if that process exists and its executable's name is `program`.
///
/// `None` also for a stale file whose pid now belongs to another program.
#[must_use]
pub fn running(pid_file: &Path, program: &str) -> Option<i32> {
    let pid: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok().filter(|pid| *pid > 1)?;
    kill(Pid::from_raw(pid), None).ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let name = command.split(|byte| *byte == 0).next()?;
    let name = Path::new(std::str::from_utf8(name).ok()?).file_name()?.to_str()?;
    (name == program).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_of_another_program_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        fs::write(&path, "1\n").unwrap();
        assert_eq!(running(&path, "init"), None);
        let file = PidFile::write(path.clone()).unwrap();
        assert_eq!(running(&path, "pve-firewall"), None);
        drop(file);
        assert!(!path.exists());
    }
}
