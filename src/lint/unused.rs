//! Empty and unused IP sets and groups.
use super::parsed_files::{Files, GuestFile};
use crate::config::{Definitions, Rule, RuleAction, VerdictRule};
use crate::model::{Address, Report, SetScope};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The sets of cluster.fw with a special meaning.
const STANDARD: [&str; 2] = ["management", "blacklist"];

/// The references in rules: sets of cluster.fw, sets of each guest's file, groups.
#[derive(Default)]
struct Used<'a> {
    cluster: BTreeSet<&'a str>,
    guests: BTreeSet<(&'a Arc<str>, &'a str)>,
    groups: BTreeSet<&'a str>,
}

/// Checks the sets and groups of all files.
pub fn unused(files: &Files<'_>, reports: &mut Vec<Report>) {
    let used = used(files);
    let cluster = &files.cluster;
    let is_used = |name: &str| STANDARD.contains(&name) || used.cluster.contains(name);
    sets(&cluster.definitions, &cluster.file, is_used, reports);
    for (name, group) in &cluster.groups {
        let mut warn = |text: &str| reports.push(Report::warning(&cluster.file, group.line, text));
        if group.rules.is_empty() {
            warn(&format!("group '{name}' has no valid rule: it has no effect"));
        } else if !used.groups.contains(name.as_str()) {
            warn(&format!("group '{name}' is not used by any rule"));
        }
    }
    for GuestFile { guest, conf } in &files.guests {
        let filters = |name: &str| match (name.strip_prefix("ipfilter-"), conf) {
            (Some(netid), Some(conf)) => conf.devices.iter().any(|device| device.netid == netid),
            (netid, _) => netid.is_some(),
        };
        let is_used = |name: &str| filters(name) || used.guests.contains(&(&guest.file, name));
        sets(&guest.definitions, &guest.file, is_used, reports);
    }
}

fn sets(definitions: &Definitions, file: &Arc<str>, is_used: impl Fn(&str) -> bool, reports: &mut Vec<Report>) {
    // line 0: exists without a definition
    for (name, set) in definitions.sets.iter().filter(|(_, set)| set.line > 0) {
        let mut warn = |text: String| reports.push(Report::warning(file, set.line, text));
        let filter = name.strip_prefix("ipfilter-");
        if !is_used(name) {
            match filter {
                Some(netid) => warn(format!("ipset '{name}' has no effect: the guest has no {netid} with firewall=1")),
                None => warn(format!("ipset '{name}' is not used by any rule")),
            }
        } else if !set.entries.is_empty() && set.networks().next().is_none() && filter.is_none() {
            warn(format!("ipset '{name}' has exceptions ('!') only: rules with it match no packet"));
        } else if set.entries.is_empty() && filter.is_none() && !STANDARD.contains(&name.as_str()) {
            warn(format!("ipset '{name}' is empty: rules with it match no packet"));
        }
    }
}

fn used<'a>(files: &'a Files<'a>) -> Used<'a> {
    let mut used = Used::default();
    for section in files.sections() {
        for rule in section.rules {
            let Rule { line: _, place: _, iface: _, action } = rule;
            let VerdictRule { direction: _, verdict: _, source, dest, terms: _, log: _ } = match action {
                RuleAction::Group(name) => {
                    used.groups.insert(name);
                    continue;
                }
                RuleAction::Verdict(verdict) => verdict,
            };
            for address in [source, dest].into_iter().flatten() {
                match address {
                    Address::Set(set) if set.scope == SetScope::Guest => used.guests.insert((section.file, &set.name)),
                    Address::Set(set) if set.scope == SetScope::Sdn => false,
                    Address::Set(set) => used.cluster.insert(&set.name),
                    Address::Literal(_) => false,
                };
            }
        }
    }
    used
}
