//! `status`: whether the firewall is enabled and running, and what it consists of.
use super::args::StatusOptions;
use super::{Context, output, view};
use crate::apply::Firewall;
use crate::compile::Compiled;
use crate::daemon::instance::running;
use crate::daemon::mode::Mode;
use crate::daemon::status::Status;
use crate::plan::{Live, Plan};
use crate::ruleset::{Family, Ruleset, Table};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// All that there is to say: the object of `--json`.
#[derive(Serialize)]
struct Overview {
    /// The word of the one line, such as `enabled/running`.
    status: String,
    enabled: bool,
    running: bool,
    /// Whether the daemon runs, and live and compiled differ.
    pending_changes: bool,
    /// Whether the nftables backend is in charge.
    nftables: bool,
    node: String,
    local_network: String,
    guests: usize,
    devices: usize,
    ipv4: FamilyCounts,
    ipv6: FamilyCounts,
    ebtables: Counts,
    tools: String,
    /// When the daemon last made an update, in seconds since 1970.
    last_update: Option<u64>,
    /// How long that took, in milliseconds.
    update_duration_ms: Option<u64>,
    /// What the daemon says is wrong, or, where none runs, what compiling says.
    faults: Vec<String>,
}

#[derive(Serialize)]
struct FamilyCounts {
    filter: Counts,
    raw: Counts,
    sets: usize,
}

#[derive(Serialize)]
struct Counts {
    chains: usize,
    rules: usize,
}

pub(super) fn run(context: &Context, options: &StatusOptions) -> Result<()> {
    let mut firewall = Firewall::new(&context.root, context.variant);
    let compiled = view::compiled(context, || firewall.live())?;
    let details = options.json || context.verbose;
    let overview = overview(context, &compiled, &mut firewall, details);
    if options.json {
        let text = serde_json::to_string_pretty(&overview).context("cannot encode the status")?;
        return output::data(&format!("{text}\n"));
    }
    let mut text = overview.line();
    if details {
        text.push_str(&overview.details());
    }
    output::data(&text)
}

fn overview(context: &Context, compiled: &Compiled, firewall: &mut Firewall, details: bool) -> Overview {
    let pid = running(&context.root);
    let mode = Mode::of(compiled, &context.root);
    let told = pid.and_then(|pid| Status::read(&context.root, pid));
    let own_faults = || compiled.reports.iter().map(ToString::to_string).collect();
    // the kernel is asked only if it matters: for changes, and for which tools work here
    let live = (pid.is_some() || (details && nix::unistd::geteuid().is_root())).then(|| firewall.live());
    let word = |yes, one: &'static str, other: &'static str| if yes { one } else { other };
    Overview {
        status: format!(
            "{}/{}",
            word(compiled.enabled, "enabled", "disabled"),
            word(pid.is_some(), "running", "stopped")
        ),
        enabled: compiled.enabled,
        running: pid.is_some(),
        pending_changes: pid.is_some() && live.is_some_and(|live| differs(compiled, mode, &live)),
        nftables: mode == Mode::Nftables,
        node: compiled.localnet.node.clone(),
        local_network: compiled.localnet.used.clone(),
        guests: compiled.handled.guests,
        devices: compiled.handled.devices,
        ipv4: family_counts(&compiled.ruleset, Family::V4),
        ipv6: family_counts(&compiled.ruleset, Family::V6),
        ebtables: Counts {
            chains: compiled.ruleset.bridge.len(),
            rules: compiled.ruleset.bridge.values().map(|chain| chain.rules().len()).sum(),
        },
        tools: firewall.variants().to_string(),
        last_update: told.as_ref().map(|told| told.updated).filter(|updated| *updated > 0),
        update_duration_ms: told.as_ref().filter(|told| told.updated > 0).map(|told| told.duration),
        faults: told.map_or_else(own_faults, |told| told.faults),
    }
}

fn differs(compiled: &Compiled, mode: Mode, live: &Live) -> bool {
    for (part, why) in live.faults() {
        output::note(&format!("cannot read the live rules of {part}: {why}"));
    }
    let wanted = if mode == Mode::On { &compiled.ruleset } else { &Ruleset::default() };
    !Plan::new(wanted, live).is_empty()
}

fn family_counts(ruleset: &Ruleset, family: Family) -> FamilyCounts {
    FamilyCounts {
        filter: counts(&ruleset.filter[family]),
        raw: counts(&ruleset.raw[family]),
        sets: ruleset.sets.values().filter(|set| set.family == family).count(),
    }
}

fn counts(table: &Table) -> Counts {
    Counts { chains: table.len(), rules: table.values().map(|chain| chain.rules().len()).sum() }
}

impl Overview {
    fn line(&self) -> String {
        let pending = if self.pending_changes { " (pending changes)" } else { "" };
        format!("Status: {}{pending}\n", self.status)
    }

    fn details(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let update = match (self.last_update, self.update_duration_ms) {
            (Some(updated), Some(took)) => format!("{} s ago, took {took} ms", now.saturating_sub(updated)),
            _ => "unknown".to_string(),
        };
        let mut text = format!(
            "Node: {}\nLocal network: {}\nGuests: {}, devices: {}\nIPv4: {}\nIPv6: {}\nebtables: {}\nTools: {}\nLast update: {update}\n",
            self.node, self.local_network, self.guests, self.devices, self.ipv4, self.ipv6, self.ebtables, self.tools,
        );
        if self.nftables {
            text.push_str("Backend: nftables (proxmox-firewall); no rules of this program\n");
        }
        // writing to a String cannot fail
        let _ = writeln!(text, "Faults: {}", self.faults.len());
        for fault in &self.faults {
            let _ = writeln!(text, "  {}", fault.replace('\n', "\n  "));
        }
        text
    }
}

impl std::fmt::Display for FamilyCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "filter {}; raw {}; {} sets", self.filter, self.raw, self.sets)
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} chains, {} rules", self.chains, self.rules)
    }
}
