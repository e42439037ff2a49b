//! `status`: the state of the firewall.
use super::args::StatusOptions;
use super::style::{BAD, CHANGE, GOOD, PLACE, PLAIN, TITLE, paint};
use super::{Context, load, output};
use crate::backend::{Backend, Compiled};
use crate::daemon::instance::running;
use crate::daemon::mode::Mode;
use crate::daemon::status::Status;
use crate::daemon::trials::TrialStatus;
use crate::health::{ActiveFinding, Affected, BACKEND_ABSENT, STALLED, Severity};
use crate::listing::{Count, FamilyCount, NftCount, TableCount};
use crate::model::BackendKind;
use crate::trial::TrialStore;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// The daemon is reported as stalled if it has completed no cycle for this many seconds. Cycles are ten seconds apart.
const STALLED_AFTER: u64 = 180;

/// All details: the object of `--json`.
#[derive(Serialize)]
struct Overview {
    /// The state, such as `enabled/running`.
    status: String,
    enabled: bool,
    running: bool,
    /// Whether the daemon is running, and live and compiled rules differ.
    pending_changes: bool,
    /// Whether the nftables backend is used.
    nftables: bool,
    /// The running trial.
    trial: Option<TrialLeft>,
    /// What happens in a hand-over in which the other daemon has to remove its rules.
    hand_over: Option<String>,
    /// The ports of the node that are open regardless of the configuration.
    failsafe: Option<String>,
    /// Whether frames whose IP packets bypass iptables are dropped.
    strict_layer2: bool,
    /// Whether every dropped packet is logged.
    log_all_drops: bool,
    node: String,
    local_network: String,
    guests: usize,
    devices: usize,
    #[serde(flatten)]
    count: Count,
    tools: String,
    /// The time of the daemon's last update, in seconds since 1970.
    last_update: Option<u64>,
    /// Its duration in milliseconds.
    update_duration_ms: Option<u64>,
    /// The backend that enforces the configuration, if it is not that of this program.
    #[serde(skip)]
    other: Option<BackendKind>,
    /// The findings: why the rules are not effective.
    warnings: Vec<ActiveFinding>,
    /// The errors reported by the daemon, or by compiling if no daemon is running.
    #[serde(rename = "faults")]
    errors: Vec<String>,
}

/// A running trial.
#[derive(Serialize)]
struct TrialLeft {
    /// The paths of its files relative to the configuration tree.
    files: Vec<String>,
    /// In seconds.
    left: u64,
}

impl TrialLeft {
    fn of(trial: TrialStatus) -> Option<Self> {
        let left = trial.deadline.saturating_sub(TrialStore::clock().ok()?.now);
        Some(TrialLeft { files: trial.files, left: left.div_ceil(1_000_000_000) })
    }

    fn line(&self) -> String {
        let names: Vec<&str> = self.files.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
        format!("{}, {} s left", names.join(", "), self.left)
    }
}

pub(super) fn run(context: &Context, options: &StatusOptions) -> Result<ExitCode> {
    let mut backend = load::backend(context, context.kind);
    let compiled = load::read(context, &mut backend)?.compiled;
    let details = options.json || context.verbose;
    let overview = overview(context, &compiled, &mut backend, details);
    let text = if options.json {
        serde_json::to_string_pretty(&overview).context("cannot encode the status")? + "\n"
    } else {
        let details = if details { overview.details() } else { String::new() };
        overview.line() + &overview.warnings(context.verbose) + &details
    };
    output::data(&text)?;
    Ok(ExitCode::from(if options.exit_code { overview.exit_code() } else { 0 }))
}

fn overview(context: &Context, compiled: &Compiled, backend: &mut Backend, details: bool) -> Overview {
    let pid = running(&context.root, context.kind);
    let mode = Mode::of(context.kind, compiled, &context.root);
    let daemon = load::daemon_status(context, context.kind);
    let own_errors = || compiled.reports.iter().map(ToString::to_string).collect();
    // live rules are read only if needed: to find changes, and working tools
    let unreadable = match pid.is_some() || (details && nix::unistd::geteuid().is_root()) {
        true => backend.unreadable(),
        false => Vec::new(),
    };
    let pending_changes = pid.is_some() && {
        for why in unreadable {
            output::note(&format!("cannot read the live rules of {why}"));
        }
        backend.differs(Some(&compiled.rules).filter(|_| mode == Mode::On))
    };
    // the daemon of the other backend checks whether its rules are effective
    let of_other = (mode == Mode::Other && context.kind == BackendKind::Iptables).then(|| {
        let kind = context.kind.other();
        load::daemon_status(context, kind).map(|status| warnings(&status, kind)).unwrap_or_default()
    });
    if context.kind == BackendKind::Nftables {
        load::note_other_backend(context, compiled);
    }
    let word = |yes, one: &'static str, other: &'static str| if yes { one } else { other };
    Overview {
        status: format!(
            "{}/{}",
            word(compiled.enabled, "enabled", "disabled"),
            word(pid.is_some(), "running", "stopped")
        ),
        enabled: compiled.enabled,
        running: pid.is_some(),
        pending_changes,
        nftables: (mode == Mode::Other) == (context.kind == BackendKind::Iptables) && compiled.enabled,
        failsafe: daemon
            .as_ref()
            .map(|status| status.options.failsafe.to_string())
            .filter(|failsafe| !failsafe.is_empty()),
        strict_layer2: daemon.as_ref().is_some_and(|status| status.options.strict_layer2),
        log_all_drops: daemon.as_ref().is_some_and(|status| status.options.log_all_drops),
        trial: trial(context),
        hand_over: daemon.as_ref().and_then(|status| status.hand_over.clone()),
        node: compiled.localnet.node.clone(),
        local_network: compiled.localnet.used.clone(),
        guests: compiled.filtered.guests,
        devices: compiled.filtered.devices,
        count: compiled.rules.count(),
        tools: backend.tools(),
        last_update: daemon.as_ref().map(|status| status.updated).filter(|updated| *updated > 0),
        update_duration_ms: daemon.as_ref().filter(|status| status.updated > 0).map(|status| status.duration),
        other: (mode == Mode::Other).then(|| context.kind.other()),
        warnings: daemon
            .as_ref()
            .map(|status| warnings(status, context.kind))
            .into_iter()
            .chain(of_other)
            .flatten()
            .collect(),
        errors: daemon.map_or_else(own_errors, |status| status.errors),
    }
}

/// The running trial, which the daemon of either backend enforces.
fn trial(context: &Context) -> Option<TrialLeft> {
    let daemons = BackendKind::ALL.into_iter().filter_map(|kind| load::daemon_status(context, kind));
    daemons.filter_map(|status| status.trial).find_map(TrialLeft::of)
}

/// The findings of the daemon of a backend, and a warning if the daemon completes no cycles.
fn warnings(status: &Status, kind: BackendKind) -> Vec<ActiveFinding> {
    let program = kind.program();
    let silent = now().saturating_sub(status.updated);
    let stalled = (status.updated > 0 && silent > STALLED_AFTER).then(|| ActiveFinding {
        kind: STALLED.into(),
        severity: Severity::Warning,
        text: format!(
            "the daemon {program} has completed no cycle for {silent} s: changes are not applied, and this may be outdated"
        ),
        affected: Affected { node: true, ..Affected::default() },
        since: status.updated,
        remedy: format!(
            "see 'status --verbose' for errors and 'journalctl -u {program}'; then 'systemctl restart {program}'"
        ),
    });
    stalled.into_iter().chain(status.findings.iter().cloned()).collect()
}

/// In seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Overview {
    fn line(&self) -> String {
        let style = match (self.enabled, self.running) {
            (true, true) => GOOD,
            (false, _) => CHANGE,
            (true, false) => BAD,
        };
        let pending = if self.pending_changes { paint(CHANGE, " (pending changes)") } else { String::new() };
        let trial = self.trial.as_ref().map(|trial| format!("Trial: {}\n", paint(CHANGE, trial.line())));
        let hand_over = self.hand_over.as_ref().map(|text| format!("Hand-over: {text}\n"));
        let lines: String = trial.into_iter().chain(hand_over).collect();
        format!("Status: {}{pending}\n{lines}", paint(style, &self.status))
    }

    /// A line for each warning; with the remedy and the duration if `explained`.
    fn warnings(&self, explained: bool) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let style = if warning.severity == Severity::Unfiltered { BAD } else { CHANGE };
            text += &format!("{} {}\n", paint(style, "WARNING:"), warning.line());
            if explained {
                let seconds = now().saturating_sub(warning.since);
                text += &format!("  since:  {seconds} s\n  remedy: {}\n", warning.remedy);
            }
        }
        text
    }

    fn exit_code(&self) -> u8 {
        let unfiltered = self.warnings.iter().any(|warning| warning.severity == Severity::Unfiltered);
        if !self.enabled || !self.running || unfiltered {
            2
        } else {
            u8::from(self.pending_changes || !self.warnings.is_empty() || !self.errors.is_empty())
        }
    }

    fn details(&self) -> String {
        let update = match (self.last_update, self.update_duration_ms) {
            (Some(updated), Some(took)) => format!("{} s ago, took {took} ms", now().saturating_sub(updated)),
            _ => "unknown".to_string(),
        };
        let backend = self.other.map(|other| ("Backend", self.enforced_by(other)));
        let backend = backend.as_ref().map(|(name, value)| (*name, value.as_str()));
        let failsafe = self.failsafe.as_deref().map(|failsafe| ("Failsafe", failsafe));
        let rows = [
            ("Node", self.node.as_str()),
            ("Local network", &self.local_network),
            ("Guests", &self.guests.to_string()),
            ("Devices", &self.devices.to_string()),
            ("Tools", &self.tools),
            ("Last update", &update),
        ];
        let row = |(name, value): (&str, &str)| format!("{:15}{value}\n", format!("{name}:"));
        let strict = self.strict_layer2.then_some(("Layer 2", "strict"));
        let log = self.log_all_drops.then_some(("Log", "all drops"));
        let mut text: String =
            rows.into_iter().chain(failsafe).chain(strict).chain(log).chain(backend).map(row).collect();
        text += &self.counts();
        let style = if self.errors.is_empty() { PLAIN } else { BAD };
        text += &row(("Errors", &paint(style, self.errors.len())));
        for error in &self.errors {
            text += &format!("  {}\n", with_place(error).replace('\n', "\n  "));
        }
        text
    }

    /// A line with the program that enforces the configuration instead of this one, and the effect on the rules of this one.
    fn enforced_by(&self, other: BackendKind) -> String {
        let name = match other {
            BackendKind::Iptables => "iptables",
            BackendKind::Nftables => "nftables",
        };
        let waiting = self.warnings.iter().any(|warning| warning.kind == BACKEND_ABSENT);
        let rules =
            if waiting { ", which is not live: the rules of this program stay" } else { "; no rules of this program" };
        format!("{name} ({}){rules}", other.program())
    }

    /// The table of chains, rules and sets.
    fn counts(&self) -> String {
        let (heads, rows): (&[&str], Vec<Vec<String>>) = match &self.count {
            Count::Iptables { ipv4, ipv6, ebtables: TableCount { chains, rules } } => {
                let family = |name: &str, FamilyCount { filter, raw, sets }: &FamilyCount| {
                    row(name, &[filter.chains, filter.rules, raw.chains, raw.rules, *sets])
                };
                let rows = vec![family("IPv4:", ipv4), family("IPv6:", ipv6), row("ebtables:", &[*chains, *rules])];
                (&["", "chains", "rules", "raw chains", "raw rules", "sets"], rows)
            }
            Count::Nftables { host, guests } => {
                let table =
                    |name: &str, NftCount { chains, rules, sets }: &NftCount| row(name, &[*chains, *rules, *sets]);
                (&["", "chains", "rules", "sets"], vec![table("host:", host), table("guests:", guests)])
            }
        };
        let line = |cells: &[String]| -> String {
            let numbers = cells.iter().zip(heads).skip(1);
            let numbers: String =
                numbers.map(|(cell, head)| format!("{cell:>width$}", width = head.len() + 2)).collect();
            format!("{:13}{numbers}\n", cells[0])
        };
        let titles: Vec<String> = heads.iter().map(ToString::to_string).collect();
        let head = paint(TITLE, line(&titles).trim_end()) + "\n";
        head + &rows.iter().map(|row| line(row)).collect::<String>()
    }
}

fn row(name: &str, numbers: &[usize]) -> Vec<String> {
    [name.to_string()].into_iter().chain(numbers.iter().map(ToString::to_string)).collect()
}

/// Replaces the `FILE (line LINE)` of a report by `FILE:LINE`.
fn with_place(error: &str) -> String {
    let parts = error.split_once(" (line ").and_then(|(file, rest)| Some((file, rest.split_once(')')?)));
    match parts {
        Some((file, (line, text))) if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()) => {
            paint(PLACE, format_args!("{file}:{line}")) + text
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_files_and_lines() {
        for (error, shown) in [
            (
                "/etc/pve/firewall/100.fw (line 4): skip line - no section",
                "/etc/pve/firewall/100.fw:4: skip line - no section",
            ),
            (
                "f (line 4) - errors in rule parameters: IN X\n  action: x",
                "f:4 - errors in rule parameters: IN X\n  action: x",
            ),
            ("f: cannot be read (line up)", "f: cannot be read (line up)"),
        ] {
            assert_eq!(anstream::adapter::strip_str(&with_place(error)).to_string(), shown);
        }
    }
}
