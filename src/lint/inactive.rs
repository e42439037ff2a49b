//! Parts of a configuration that have no effect because of an option, a device or the backend.
use super::parsed_files::{Files, GuestFile};
use crate::config::{
    Cluster, ClusterOptions, Guest, GuestOptions, Host, HostOptions, OptionOrigins, Rule, RuleAction, Vnet, VnetOptions,
};
use crate::model::{Direction, OptionKey, Report, Severity, Verdict};
use crate::node::{Device, Link};
use std::sync::Arc;

/// The grace period after the time in `enable`, in seconds.
const TRIAL_SECONDS: u64 = 60;
/// The end of reports about settings that only the nftables backend enforces.
const NFTABLES: &str = "only the nftables backend enforces it ('nftables: 1' in host.fw)";

/// Checks the files for rules and options without effect; `now` is in seconds since 1970.
pub fn inactive(files: &Files<'_>, now: u64, reports: &mut Vec<Report>) {
    if files.whole {
        cluster(files, now, reports);
    }
    [files.host].into_iter().chain(files.other_hosts).for_each(|host| of_host(host, reports));
    files.guests.iter().for_each(|guest| of_guest(guest, reports));
    if !files.host.options.nftables {
        cluster_without_nftables(files.cluster, reports);
        host_without_nftables(files.host, reports);
        files.vnets.iter().for_each(|vnet| vnet_without_nftables(vnet, reports));
    }
}

fn warn(file: &Arc<str>, line: Option<u32>, text: impl std::fmt::Display, reports: &mut Vec<Report>) {
    reports.push(match line {
        Some(line) => Report::warning(file, line, text),
        None => Report { severity: Severity::Warning, ..Report::file(file, text) },
    });
}

/// The line of an option, or else of the first rule.
fn line(lines: &OptionOrigins, key: OptionKey, rules: &[Rule]) -> Option<u32> {
    lines.line(key).or_else(|| rules.first().map(|rule| rule.line))
}

fn cluster(files: &Files<'_>, now: u64, reports: &mut Vec<Report>) {
    let Cluster { file, options, rules, groups: _, definitions: _, local_network: _, own_local_network: _ } =
        files.cluster;
    let wanted = files.sections().any(|section| !section.rules.is_empty())
        || files.guests.iter().any(|guest| guest.guest.options.enable);
    #[rustfmt::skip]
    let ClusterOptions {
        enable, ebtables: _, policy_in: _, policy_out: _, policy_forward: _, log_ratelimit: _, lines,
    } = options;
    let at = line(lines, OptionKey::Enable, rules);
    match *enable {
        1 => {}
        0 if wanted => {
            let text = "the firewall is off in the whole cluster, so no rule of any file has an effect; set 'enable: 1' \
                 in [OPTIONS] of cluster.fw";
            warn(file, at, text, reports);
        }
        0 => {}
        time if time.saturating_add(TRIAL_SECONDS) < now => {
            let text = format!(
                "'enable: {time}' is a time in seconds since 1970 that has passed, so the firewall is off in the whole \
                 cluster; set 'enable: 1'"
            );
            warn(file, at, text, reports);
        }
        _ => {}
    }
}

fn of_host(Host { file, options, rules }: &Host, reports: &mut Vec<Report>) {
    #[rustfmt::skip]
    let HostOptions {
        enable, nosmurfs: _, tcpflags: _, ndp: _, log_nf_conntrack: _, nf_conntrack_allow_invalid: _, protection_synflood: _,
        nftables: _, log_level_in: _, log_level_out: _, log_level_forward: _, tcp_flags_log_level: _, smurf_log_level: _,
        nf_conntrack_max: _, nf_conntrack_tcp_timeout_established: _, nf_conntrack_tcp_timeout_syn_recv: _,
        protection_synflood_rate: _, protection_synflood_burst: _, nf_conntrack_helpers: _, lines,
    } = options;
    if !enable && !rules.is_empty() {
        let text = "the host firewall is off, so the rules of this file have no effect; set 'enable: 1'";
        warn(file, line(lines, OptionKey::Enable, rules), text, reports);
    }
}

fn of_guest(GuestFile { guest, conf }: &GuestFile<'_>, reports: &mut Vec<Report>) {
    let Guest { file, options, definitions: _, rules } = guest;
    #[rustfmt::skip]
    let GuestOptions {
        enable, dhcp: _, ndp: _, radv: _, macfilter: _, ipfilter: _, ips: _, log_level_in: _, log_level_out: _, policy_in: _,
        policy_out: _, ips_queues: _, layer2_protocols: _, lines,
    } = options;
    let at = line(lines, OptionKey::Enable, rules);
    let devices = conf.as_ref().map(|conf| conf.devices).unwrap_or_default();
    if !enable {
        let undecided = lines.line(OptionKey::Enable).is_none() && !devices.is_empty();
        if !rules.is_empty() || undecided {
            let text = "the firewall of this guest is off, so this file has no effect; set 'enable: 1' in [OPTIONS]";
            warn(file, at, text, reports);
        }
        return;
    }
    let Some(conf) = conf else { return };
    if devices.is_empty() {
        let text = "no network device of this guest has firewall=1, so this file has no effect; set firewall=1 on its \
             network devices";
        warn(file, at, text, reports);
        return;
    }
    for rule in rules {
        if let Some(netid) = rule.iface.as_deref().and_then(|netid| missing(netid, devices, &conf.links)) {
            warn(file, Some(rule.line), format!("{netid}, so this rule has no effect"), reports);
        }
    }
}

/// The reason why rules for a device have no effect; `None` if they have one.
fn missing(netid: &str, devices: &[Device], links: &[Link]) -> Option<String> {
    if devices.iter().any(|device| device.netid == netid) {
        return None;
    }
    let there = links.iter().any(|link| netid.strip_prefix("net") == Some(&link.device.index.to_string()));
    Some(match there {
        true => format!("{netid} of this guest lacks firewall=1"),
        false => format!("this guest has no {netid}"),
    })
}

/// Reports rules and options of cluster.fw that only the nftables backend enforces.
fn cluster_without_nftables(cluster: &Cluster, reports: &mut Vec<Report>) {
    let Cluster { file, options, rules, groups, definitions: _, local_network: _, own_local_network: _ } = cluster;
    #[rustfmt::skip]
    let ClusterOptions {
        enable: _, ebtables: _, policy_in: _, policy_out: _, policy_forward, log_ratelimit: _, lines,
    } = options;
    forward_rules(file, rules, reports);
    for (name, group) in groups {
        if !group.rules.is_empty() && group.rules.iter().all(is_forward) {
            let text = format!("group '{name}' has FORWARD rules only and so no effect: {NFTABLES}");
            warn(file, Some(group.line), text, reports);
        }
    }
    if *policy_forward != Verdict::Accept {
        without_effect(OptionKey::PolicyForward, file, lines, reports);
    }
}

/// Reports rules and options of host.fw that only the nftables backend enforces.
fn host_without_nftables(Host { file, options, rules }: &Host, reports: &mut Vec<Report>) {
    #[rustfmt::skip]
    let HostOptions {
        enable: _, nosmurfs: _, tcpflags: _, ndp: _, log_nf_conntrack: _, nf_conntrack_allow_invalid: _,
        protection_synflood: _, nftables: _, log_level_in: _, log_level_out: _, log_level_forward, tcp_flags_log_level: _,
        smurf_log_level: _, nf_conntrack_max: _, nf_conntrack_tcp_timeout_established: _,
        nf_conntrack_tcp_timeout_syn_recv: _, protection_synflood_rate: _, protection_synflood_burst: _,
        nf_conntrack_helpers: _, lines,
    } = options;
    forward_rules(file, rules, reports);
    if log_level_forward.is_some() {
        without_effect(OptionKey::LogLevelForward, file, lines, reports);
    }
}

/// Reports an enabled vnet, which only the nftables backend enforces.
fn vnet_without_nftables(Vnet { file, options, rules }: &Vnet, reports: &mut Vec<Report>) {
    let VnetOptions { enable, policy_forward: _, log_level_forward: _, lines } = options;
    if *enable {
        let text = format!("the firewall of this vnet has no effect: {NFTABLES}");
        warn(file, line(lines, OptionKey::Enable, rules), text, reports);
    }
}

/// Reports the FORWARD rules of a file.
fn forward_rules(file: &Arc<str>, rules: &[Rule], reports: &mut Vec<Report>) {
    let mut forward = rules.iter().filter(|rule| is_forward(rule));
    if let Some(first) = forward.next() {
        let text = match forward.count() {
            0 => format!("this FORWARD rule has no effect: {NFTABLES}"),
            more => format!("this FORWARD rule, and {more} more below, have no effect: {NFTABLES}"),
        };
        warn(file, Some(first.line), text, reports);
    }
}

/// Reports an option that only the nftables backend uses, if a line sets it.
fn without_effect(key: OptionKey, file: &Arc<str>, lines: &OptionOrigins, reports: &mut Vec<Report>) {
    if let Some(line) = lines.line(key) {
        warn(file, Some(line), format!("{key} has no effect: {NFTABLES}"), reports);
    }
}

fn is_forward(rule: &Rule) -> bool {
    matches!(&rule.action, RuleAction::Verdict(verdict) if verdict.direction == Direction::Forward)
}
