//! Reports values that the grammar of Proxmox allows but this backend cannot enforce.
use super::names::bridge_chain;
use super::ruleset::Limit;
use crate::config::{Configuration, Rule, RuleAction, VerdictRule};
use crate::model::{Direction, LogRate, LogRatelimit, OptionKey, Origin, Report, Verdict};
use std::sync::Arc;

/// The default burst of a limit, in packets.
const BURST: u32 = 5;

/// The reports about a configuration: about its files, and about what this backend cannot enforce. In the order of files and
/// lines.
#[must_use]
pub fn reports(configuration: &Configuration) -> Vec<Report> {
    let mut reports: Vec<Report> = configuration.reports().cloned().collect();
    let (cluster, host) = (&configuration.cluster, &configuration.host);
    let options = &cluster.options;
    if let (Err(error), Origin::Line(file, line)) =
        (of_log_rules(&options.log_ratelimit), options.lines.origin(OptionKey::LogRatelimit))
    {
        reports.push(Report::line(&file, line, format!("log_ratelimit: {error}; the default is used")));
    }
    rules(&cluster.file, &cluster.rules, &mut reports);
    rules(&host.file, &host.rules, &mut reports);
    for (name, vnet) in configuration.vnets.iter().filter(|(_, vnet)| vnet.options.enable) {
        rules(&vnet.file, &vnet.rules, &mut reports);
        if bridge_chain(name).is_none() {
            let text =
                "no bridge can have the name of this file, so it has no effect: at most 15 letters, digits and '-_.'";
            reports.push(Report::file(&vnet.file, text));
        }
    }
    reports.sort();
    reports.dedup();
    reports
}

/// The limit of log rules for nft.
///
/// # Errors
/// When the kernel cannot count it: the time for a burst in nanoseconds and the number of packets have 64 bits (`nft_limit.c`).
pub fn of_log_rules(ratelimit: &LogRatelimit) -> Result<Option<Limit>, String> {
    let Some(LogRate { rate, burst }) = ratelimit.0.as_deref() else { return Ok(None) };
    let (packets, burst) = (rate.value.packets, burst.unwrap_or(BURST));
    let interval = rate.value.per.seconds() * 1_000_000_000 / packets;
    let countable = interval.checked_mul(burst.into()).is_some() && packets.checked_add(burst.into()).is_some();
    match countable {
        true => Ok(Some(Limit { rate: rate.value, burst })),
        false => Err(format!("a burst of {burst} at {rate} is more than nftables can count")),
    }
}

/// Reports FORWARD rules with an interface: a forwarded packet has two.
fn rules(file: &Arc<str>, rules: &[Rule], reports: &mut Vec<Report>) {
    for Rule { line, place, iface, action } in rules.iter().filter(|rule| rule.iface.is_some()) {
        let name = iface.as_deref().unwrap_or_default();
        let RuleAction::Verdict(rule) = action else { continue };
        let VerdictRule { direction, verdict, source: _, dest: _, terms: _, log: _ } = rule;
        if *direction != Direction::Forward {
            continue;
        }
        let effect = match verdict {
            Verdict::Accept => "is ignored, because forwarded packets have two interfaces: give addresses instead",
            Verdict::Drop | Verdict::Reject => "applies to packets that enter or leave by it",
        };
        let text = format!("-i {name} in a FORWARD rule: it {effect}");
        reports.push(Report::warning(file, *line, text).at(*place, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigCache;
    use crate::inputs::{Facts, File, Tree};

    #[test]
    fn limits_of_log_rules() {
        use crate::model::{Rate, Spelled, TimeUnit};
        for (packets, per, burst, fits) in [
            (1, TimeUnit::Second, None, true),
            (1, TimeUnit::Second, Some(u32::MAX), true),
            (1, TimeUnit::Day, Some(213_503), true),
            (1, TimeUnit::Day, Some(213_504), false),
            (2, TimeUnit::Day, Some(213_504), true),
            (1, TimeUnit::Hour, Some(u32::MAX), false),
            (u64::MAX - 5, TimeUnit::Second, None, true),
            (u64::MAX - 4, TimeUnit::Second, None, false),
        ] {
            let rate = Spelled::new("x", Rate { packets, per }).unwrap();
            let limit = of_log_rules(&LogRatelimit(Some(LogRate { rate, burst }.into())));
            assert_eq!(limit.is_ok(), fits, "{packets} {per:?} {burst:?}");
        }
    }

    #[test]
    fn settings_without_effect_are_reported_with_their_line() {
        let rules = "[RULES]\nFORWARD ACCEPT -i vmbr1\nFORWARD DROP -i vmbr1\nFORWARD ACCEPT\nIN ACCEPT -i vmbr1\n";
        let files = [
            ("firewall/cluster.fw", rules),
            ("sdn/firewall/a-name-of-16-byte.fw", "[OPTIONS]\nenable: 1\n"),
            ("sdn/firewall/vnet0.fw", "[OPTIONS]\nenable: 1\n"),
        ];
        let content = |text: &str| File::Content(text.as_bytes().into());
        let files = files.into_iter().map(|(path, text)| (path.into(), content(text))).collect();
        let tree = Tree { root: "/x".to_string(), files };
        let reports = reports(&ConfigCache::new(1).read(&tree, &Facts::default()));
        let lines: Vec<_> =
            reports.iter().map(|report| (report.file.rsplit('/').next().unwrap(), report.line)).collect();
        assert_eq!(lines, [("cluster.fw", Some(2)), ("cluster.fw", Some(3)), ("a-name-of-16-byte.fw", None)]);
    }
}
