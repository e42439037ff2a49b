//! Reports values that the grammar of Proxmox allows but this backend cannot enforce.
use super::names::bridge_chain;
use crate::config::{Configuration, Rule, RuleAction, VerdictRule};
use crate::model::{Direction, Report, Verdict};
use std::sync::Arc;

/// The reports about a configuration.
#[must_use]
pub fn reports(configuration: &Configuration) -> Vec<Report> {
    let mut reports = Vec::new();
    let (cluster, host) = (&configuration.cluster, &configuration.host);
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
    reports
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
    fn what_has_no_effect_is_reported_with_its_line() {
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
