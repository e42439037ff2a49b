//! The service manager: whether it runs, and what it is told (`sd_notify(3)`). Without one, telling does nothing.
use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Whether systemd runs on this machine, as `sd_booted(3)` finds out.
#[must_use]
pub fn booted() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Runs `systemctl VERB UNIT` and waits for its end; its messages go where ours go.
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

/// The daemon is up, or up again after [`reloading`].
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon is about to execute itself anew.
pub fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    tell(&[Some(NotifyState::Reloading), now.ok()].into_iter().flatten().collect::<Vec<_>>());
}

/// The daemon is on its way out.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The main thread is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be called, if a watchdog waits for it: three times in its time.
#[must_use]
pub fn alive_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| time / 3)
}

fn tell(state: &[NotifyState<'_>]) {
    // a manager that does not listen must not keep the firewall from its work
    let _ = sd_notify::notify(state);
}
