//! Values that the grammar of Proxmox allows but iptables refuses: each is reported, and left out or replaced by the default.
use crate::config::{Cluster, ClusterOptions, Guest, GuestOptions, Host, HostOptions, Rule, RuleAction, VerdictRule};
use crate::model::{Address, Literal, LogRate, LogRatelimit, OptionKey, Origin, Report};
use std::borrow::Cow;
use std::sync::Arc;

/// The maximum length of an address list in a rule, in bytes: a buffer of the tools has 1,024 (`xshared.c`).
const MAX_LIST_LENGTH: usize = 1023;
/// The maximum of `--limit` per second, and of `--limit-burst` (`libxt_limit.c`).
const MAX_LIMIT: u64 = 10_000;
/// The default burst of `--limit`.
const BURST: u64 = 5;
/// The maximum time to refill a burst, in seconds: the kernel counts credits in 32 bits (`xt_limit.c`).
const MAX_REFILL: u64 = 134_217;
/// The maximum of `--hashlimit-above` per second, and of `--hashlimit-burst`.
const MAX_HASHLIMIT: u64 = 1_000_000;
/// The maximum of `--hashlimit-htable-expire`, in seconds: it counts milliseconds in 32 bits.
const MAX_EXPIRE: u64 = u32::MAX as u64 / 1000;

/// Checks the limits for cluster.fw.
pub fn cluster<'a>(cluster: &'a Cluster, reports: &mut Vec<Report>) -> Cow<'a, Cluster> {
    let mut within = Cow::Borrowed(cluster);
    #[rustfmt::skip]
    let ClusterOptions {
        enable: _, ebtables: _, policy_in: _, policy_out: _, policy_forward: _, log_ratelimit, lines,
    } = &cluster.options;
    if let Some(error) = log_ratelimit.0.as_deref().and_then(beyond_limit) {
        option(OptionKey::LogRatelimit, &error, &lines.origin(OptionKey::LogRatelimit), reports);
        within.to_mut().options.log_ratelimit = LogRatelimit::default();
    }
    let groups = cluster.groups.values().map(|group| &group.rules);
    let sections = [&cluster.rules].into_iter().chain(groups);
    let beyond = sections.filter(|rules| report_rules(rules, &cluster.file, reports)).count();
    if beyond > 0 {
        let within = within.to_mut();
        within.rules.retain(fits);
        within.groups.values_mut().for_each(|group| group.rules.retain(fits));
    }
    within
}

/// Checks the limits for host.fw.
pub fn host<'a>(host: &'a Host, reports: &mut Vec<Report>) -> Cow<'a, Host> {
    let mut within = Cow::Borrowed(host);
    #[rustfmt::skip]
    let HostOptions {
        enable: _, nosmurfs: _, tcpflags: _, ndp: _, log_nf_conntrack: _, nf_conntrack_allow_invalid: _,
        protection_synflood: _, nftables: _, log_level_in: _, log_level_out: _, log_level_forward: _, tcp_flags_log_level: _,
        smurf_log_level: _, nf_conntrack_max: _, nf_conntrack_tcp_timeout_established: _, nf_conntrack_tcp_timeout_syn_recv,
        protection_synflood_rate, protection_synflood_burst, nf_conntrack_helpers: _, lines,
    } = &host.options;
    let default = HostOptions::default();
    let mut exceeds = |key: OptionKey, value: u64, most: u64| {
        if value > most {
            option(key, &format!("at most {most} with iptables"), &lines.origin(key), reports);
        }
        value > most
    };
    if exceeds(OptionKey::ProtectionSynfloodRate, *protection_synflood_rate, MAX_HASHLIMIT) {
        within.to_mut().options.protection_synflood_rate = default.protection_synflood_rate;
    }
    if exceeds(OptionKey::ProtectionSynfloodBurst, *protection_synflood_burst, MAX_HASHLIMIT) {
        within.to_mut().options.protection_synflood_burst = default.protection_synflood_burst;
    }
    if exceeds(OptionKey::NfConntrackTcpTimeoutSynRecv, *nf_conntrack_tcp_timeout_syn_recv, MAX_EXPIRE) {
        within.to_mut().options.nf_conntrack_tcp_timeout_syn_recv = default.nf_conntrack_tcp_timeout_syn_recv;
    }
    if report_rules(&host.rules, &host.file, reports) {
        within.to_mut().rules.retain(fits);
    }
    within
}

/// Checks the limits for a guest's file.
pub fn guest<'a>(guest: &'a Guest, reports: &mut Vec<Report>) -> Cow<'a, Guest> {
    let mut within = Cow::Borrowed(guest);
    #[rustfmt::skip]
    let GuestOptions {
        enable: _, dhcp: _, ndp: _, radv: _, macfilter: _, ipfilter: _, ips: _, log_level_in: _, log_level_out: _, policy_in: _,
        policy_out: _, ips_queues: _, layer2_protocols: _, lines: _,
    } = &guest.options;
    if report_rules(&guest.rules, &guest.file, reports) {
        within.to_mut().rules.retain(fits);
    }
    within
}

fn option(key: OptionKey, error: &str, origin: &Origin, reports: &mut Vec<Report>) {
    if let Origin::Line(file, line) = origin {
        reports.push(Report::line(file, *line, format!("{key}: {error}; the default is used")));
    }
}

/// The error in a rate for log rules.
fn beyond_limit(LogRate { rate, burst }: &LogRate) -> Option<String> {
    let (packets, seconds) = (rate.value.packets, rate.value.per.seconds());
    let burst = burst.map_or(BURST, u64::from);
    if packets > MAX_LIMIT * seconds || burst > MAX_LIMIT {
        return Some(format!("at most {MAX_LIMIT} packets a second, and a burst of {MAX_LIMIT}, with iptables"));
    }
    // between two packets, in units of 100 µs
    let interval = seconds * 10_000 / packets;
    let too_slow = burst * interval / 10_000 > MAX_REFILL;
    too_slow.then(|| format!("a burst of {burst} at {rate} takes longer to refill than iptables can count"))
}

/// Reports the rules that exceed a limit; returns whether there are any.
fn report_rules(rules: &[Rule], file: &Arc<str>, reports: &mut Vec<Report>) -> bool {
    let before = reports.len();
    for rule in rules {
        if let Some(length) = too_long(rule) {
            let text = format!(
                "address list too long ({length} bytes, at most {MAX_LIST_LENGTH} with iptables): put the addresses into \
                 an IP set, or split the rule in two"
            );
            reports.push(Report::line(file, rule.line, text).at(rule.place, None));
        }
    }
    reports.len() > before
}

fn fits(rule: &Rule) -> bool {
    too_long(rule).is_none()
}

/// The length of an address list that is too long, in bytes.
fn too_long(Rule { line: _, place: _, iface: _, action }: &Rule) -> Option<usize> {
    let VerdictRule { direction: _, verdict: _, source, dest, terms: _, log: _ } = match action {
        RuleAction::Verdict(rule) => rule,
        RuleAction::Group(_) => return None,
    };
    let lengths = [source, dest].into_iter().flatten().filter_map(|address| match address {
        Address::Literal(Literal::Nets(nets)) => Some(nets.text().len()),
        Address::Literal(Literal::Range(_)) | Address::Set(_) => None,
    });
    lengths.filter(|length| *length > MAX_LIST_LENGTH).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Rate, Spelled, TimeUnit};

    #[test]
    fn rates_of_log_rules() {
        use TimeUnit::{Day, Hour, Minute, Second};
        for (packets, per, burst, fits) in [
            (1, Second, None, true),
            (20, Minute, Some(7), true),
            (1, Day, Some(1), true),
            (1, Day, Some(2), false),
            (1, Day, None, false),
            (8, Day, Some(12), true),
            (8, Day, Some(13), false),
            (5, Day, None, true),
            (1, Hour, Some(37), true),
            (1, Hour, Some(38), false),
            (10_000, Second, Some(10_000), true),
            (10_001, Second, None, false),
            (1, Second, Some(10_001), false),
        ] {
            let rate = Spelled::new("x", Rate { packets, per }).unwrap();
            assert_eq!(beyond_limit(&LogRate { rate, burst }).is_none(), fits, "{packets} {per:?} {burst:?}");
        }
    }
}
