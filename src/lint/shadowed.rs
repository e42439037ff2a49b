//! Rules that are never reached, because an earlier rule matches all their packets.
use super::covers::SetFiles;
use super::parsed_files::{Files, Section};
use crate::config::{Rule, RuleAction, Term, VerdictRule};
use crate::model::{Direction, Family, Report, Verdict};

/// Maximum number of rules in a list that are compared, because the time is quadratic.
const MAX_RULES: usize = 4096;

/// A rule in order of evaluation, with GROUP rules replaced by the rules of the group.
#[derive(Clone, Copy)]
struct EvaluatedRule<'a> {
    /// The rule in the list.
    by: &'a Rule,
    rule: &'a VerdictRule,
    iface: Option<&'a str>,
    /// The line in cluster.fw and the name of the group, for a rule of a group.
    group: Option<(u32, &'a str)>,
}

/// Checks all lists of rules.
pub fn shadowed(files: &Files<'_>, reports: &mut Vec<Report>) {
    for section in files.sections() {
        in_section(files, section, reports);
    }
}

fn in_section(files: &Files<'_>, section: Section<'_>, reports: &mut Vec<Report>) {
    let sets = SetFiles { cluster: files.cluster, guest: section.guest };
    let mut earlier: Vec<EvaluatedRule<'_>> = Vec::new();
    for rule in section.rules {
        let evaluated = evaluated(files, rule);
        if earlier.len() + evaluated.len() > MAX_RULES {
            return;
        }
        let by = |one: &EvaluatedRule<'_>| {
            let wider = |wide: &&EvaluatedRule<'_>| {
                (wide.iface.is_none() || wide.iface == one.iface) && sets.covers(wide.rule, one.rule)
            };
            earlier.iter().find(wider).copied()
        };
        let all: Option<Vec<_>> = evaluated.iter().map(by).collect();
        if let Some(first) = all.as_ref().and_then(|all| all.first()) {
            reports.push(Report::warning(section.file, rule.line, message(first, rule)));
        }
        earlier.extend(evaluated);
    }
}

fn evaluated<'a>(files: &'a Files<'a>, by: &'a Rule) -> Vec<EvaluatedRule<'a>> {
    let Rule { line: _, place: _, iface, action } = by;
    let iface = iface.as_deref();
    match action {
        RuleAction::Verdict(rule) => vec![EvaluatedRule { by, rule, iface, group: None }],
        RuleAction::Group(name) => {
            let rules = files.cluster.groups.get(name.as_str()).map_or(&[][..], |group| &group.rules);
            // rules of groups cannot have an interface
            let verdict = |Rule { line, place: _, iface: _, action }: &'a Rule| match action {
                RuleAction::Verdict(rule) => Some(EvaluatedRule { by, rule, iface, group: Some((*line, name)) }),
                RuleAction::Group(_) => None,
            };
            rules.iter().filter_map(verdict).collect()
        }
    }
}

fn message(wide: &EvaluatedRule<'_>, rule: &Rule) -> String {
    let verb = match wide.rule.verdict {
        Verdict::Accept => "accepts",
        Verdict::Drop => "drops",
        Verdict::Reject => "rejects",
    };
    let mut place = format!("line {}", wide.by.line);
    if let Some((line, group)) = wide.group {
        place += &format!(" (group {group}, line {line} of cluster.fw)");
    }
    let what = match wide.rule.direction {
        _ if !is_unconditional(wide) => "all packets that it matches",
        _ if matches!(rule.action, RuleAction::Group(_)) => "all packets that its rules match",
        Direction::In => "all incoming packets",
        Direction::Out => "all outgoing packets",
        Direction::Forward => "all forwarded packets",
    };
    format!("this rule is never reached: {place} already {verb} {what}")
}

fn is_unconditional(evaluated: &EvaluatedRule<'_>) -> bool {
    let VerdictRule { direction: _, verdict: _, source, dest, terms, log: _ } = evaluated.rule;
    let any = |family: Family| terms[family].contains(&Term { proto: None, sport: None, dport: None, icmp_type: None });
    evaluated.iface.is_none() && source.is_none() && dest.is_none() && Family::ALL.into_iter().all(any)
}
