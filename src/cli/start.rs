//! `start`: starts the daemon.
use super::args::StartOptions;
use super::{Context, require_root};
use crate::daemon::instance::Instance;
use crate::daemon::status::Status;
use crate::daemon::{self, Setup};
use crate::model::DaemonOptions;
use crate::system::process::{Forked, into_background, is_alive};
use crate::system::syslog::Severity;
use crate::system::systemd;
use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The service's name.
pub(super) const UNIT: &str = "pve-firewall.service";
/// How long a manual start waits for the first update.
const START_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(context: &Context, options: &StartOptions) -> Result<()> {
    require_root(context, "start")?;
    let in_foreground = options.debug || options.foreground;
    let instance = Instance::claim(&context.root, context.kind)?;
    if in_foreground {
        return daemon::run(setup(context, options)?, &instance);
    }
    if by_systemd(context) {
        let options = lasting(options);
        if !options.is_empty() {
            let options = options.join(OsStr::new(" "));
            bail!("with systemd, set START_OPTIONS='{}' in /etc/default/pve-firewall", options.display());
        }
        // the process of the service takes the lock itself
        drop(instance);
        return systemd::systemctl("start", UNIT);
    }
    let setup = setup(context, options)?;
    match into_background()? {
        Forked::Daemon => daemon::run(setup, &instance),
        Forked::Parent(pid) => await_first_update(context, pid),
    }
}

/// Whether systemd starts and stops the daemon. A command of the unit itself does so without it.
pub(super) fn by_systemd(context: &Context) -> bool {
    context.whole_system && systemd::booted() && !systemd::runs_within(UNIT)
}

/// The daemon's setup, and the command line to re-execute it.
pub(super) fn setup(context: &Context, options: &StartOptions) -> Result<Setup> {
    let program = std::env::current_exe().context("cannot find out the path of this program")?;
    let foreground = if options.debug { "--debug" } else { "--foreground" };
    let mut args: Vec<OsString> = vec!["start".into(), foreground.into()];
    args.extend(lasting(options));
    args.extend(context.options.clone());
    Ok(Setup {
        root: context.root.clone(),
        config: context.config.clone(),
        node: context.node()?,
        kind: context.kind,
        variant: context.variant,
        min_severity: Severity::Info,
        debug: options.debug,
        keep_last_good: !options.no_last_good,
        options: DaemonOptions {
            failsafe: options.failsafe.clone(),
            strict_layer2: options.strict_layer2,
            log_all_drops: options.log_all_drops,
        },
        cut_connections: options.cut_connections,
        full_reading: Duration::from_secs(options.full_reading),
        restart: (on_disk(program), args),
    })
}

/// The daemon's options that apply after re-execution too, as command line arguments.
fn lasting(options: &StartOptions) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    args.extend(options.no_last_good.then(|| "--no-last-good".into()));
    if !options.failsafe.0.is_empty() {
        args.extend(["--failsafe".into(), options.failsafe.to_string().into()]);
    }
    args.extend(options.strict_layer2.then(|| "--strict-layer2".into()));
    args.extend(options.log_all_drops.then(|| "--log-all-drops".into()));
    args.extend(options.cut_connections.then(|| "--cut-connections".into()));
    if options.full_reading != StartOptions::default().full_reading {
        args.extend(["--full-reading".into(), options.full_reading.to_string().into()]);
    }
    args
}

/// The path of the program without the kernel's mark for a deleted file.
fn on_disk(program: PathBuf) -> PathBuf {
    let text = program.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from);
    text.unwrap_or(program)
}

fn await_first_update(context: &Context, pid: i32) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Status::read(&context.root, context.kind, pid).is_none() {
        if !is_alive(pid) {
            bail!("the daemon ended at once; 'pve-firewall start --debug' shows why");
        }
        if Instant::now() > deadline {
            bail!(
                "the daemon (pid {pid}) is not ready after {} s; see 'journalctl -t pve-firewall'",
                START_TIMEOUT.as_secs()
            );
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
