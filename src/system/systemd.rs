//! The service manager: whether it runs, and notifications to it (sd_notify(3)), which do nothing without one.
use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Whether systemd runs on this machine (sd_booted(3)).
#[must_use]
pub fn booted() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Whether this process belongs to a unit. A command that is run by the unit itself must not call `systemctl` to start, stop or
/// reload that unit: it would wait for a job that ends only after the command.
#[must_use]
pub fn runs_within(unit: &str) -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups.lines().any(|line| is_group_of(line, unit))
}

/// Whether a line of `/proc/PID/cgroup` (cgroups(7)) names the control group of a unit or one below it.
fn is_group_of(line: &str, unit: &str) -> bool {
    line.splitn(3, ':').nth(2).is_some_and(|path| path.split('/').any(|name| name == unit))
}

/// Runs `systemctl VERB UNIT` and waits for its end; it inherits standard error.
///
/// # Errors
/// When it cannot be run, or fails.
pub fn systemctl(verb: &str, unit: &str) -> Result<()> {
    let status = Command::new("systemctl")
        .args([verb, unit])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run systemctl")?;
    if !status.success() {
        bail!("'systemctl {verb} {unit}' failed; see 'journalctl -u {unit}'");
    }
    Ok(())
}

/// Notifies that the daemon is ready, after its start or after [`reloading`].
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Notifies that the daemon is about to re-execute itself.
pub fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    notify(&[Some(NotifyState::Reloading), now.ok()].into_iter().flatten().collect::<Vec<_>>());
}

/// Sets the line that `systemctl status` shows as the status of the unit.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Notifies that the daemon is stopping.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Resets the watchdog.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The interval for calling [`alive`] if the watchdog is enabled: a third of its timeout.
#[must_use]
pub fn alive_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| time / 3)
}

fn notify(state: &[NotifyState<'_>]) {
    // the firewall works without the service manager
    let _ = sd_notify::notify(state);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_control_group() {
        for (line, expected) in [
            ("0::/system.slice/pve-firewall.service", true),
            ("0::/system.slice/pve-firewall.service/.control", true),
            ("1:name=systemd:/system.slice/pve-firewall.service", true),
            ("0::/system.slice/pve-firewall.service.d", false),
            ("0::/system.slice/ssh.service", false),
            ("0::/user.slice/user-0.slice/session-1.scope", false),
            ("0::/", false),
        ] {
            assert_eq!(is_group_of(line, "pve-firewall.service"), expected, "{line}");
        }
    }
}
