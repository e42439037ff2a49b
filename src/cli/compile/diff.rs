//! `compile --diff`: what would change on the node, chain by chain, with the line of the configuration behind it.
use crate::apply::{Firewall, Lines, Texts, family_name};
use crate::cli::output::Colour;
use crate::plan::{Action, Live, Plan, Planned, TableName};
use crate::ruleset::{Chain, Family, Match, Origin, Rule, Ruleset};
use anyhow::Result;
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// How many lines around a change are shown.
const AROUND: usize = 2;

/// The differences between what is live and what is wanted; nothing where there are none.
pub fn text(firewall: &mut Firewall, wanted: &Ruleset, live: &Live, colour: Colour) -> Result<String> {
    let plan = Plan::new(wanted, live);
    if plan.is_empty() {
        return Ok("no changes\n".to_string());
    }
    let old = firewall.texts();
    let (new, outcome) = firewall.texts_of(wanted)?;
    let mut diff = Diff { text: String::new(), colour };
    for family in Family::ALL {
        for table in TableName::ALL {
            let title = format!("{} {}", family_name(family), table.as_str());
            let key = (family_name(family), table.as_str());
            let rules = wanted.table(table, family);
            let origins = |name: &str| rules.get(name).map(|chain| origins(chain)).unwrap_or_default();
            let sides = Sides { old: old.tables.get(&key), new: new.tables.get(&key) };
            diff.part(&title, &plan.table(table, family).chains, sides, origins);
        }
    }
    let bridge = |name: &str| -> Vec<&Origin> {
        wanted.bridge.get(name).into_iter().flat_map(|chain| chain.rules().iter().map(|rule| &rule.origin)).collect()
    };
    diff.part("ebtables", &plan.bridge.chains, Sides::of(&old, &new, |texts| &texts.bridge), bridge);
    let set = |name: &str| -> Vec<&Origin> {
        let lines = new.sets.get(name).map_or(0, Vec::len);
        wanted.sets.get(name).map(|set| vec![&set.origin; lines]).unwrap_or_default()
    };
    diff.part("ipset", &plan.sets.sets, Sides::of(&old, &new, |texts| &texts.sets), set);
    for fault in outcome.faults {
        let _ = writeln!(diff.text, "would be refused: {fault}"); // a String takes everything
    }
    Ok(diff.text)
}

/// The lines of a part as they are and as they would be.
struct Sides<'a> {
    old: Option<&'a Lines>,
    new: Option<&'a Lines>,
}

impl<'a> Sides<'a> {
    fn of(old: &'a Texts, new: &'a Texts, pick: impl Fn(&'a Texts) -> &'a Lines) -> Self {
        Sides { old: Some(pick(old)), new: Some(pick(new)) }
    }
}

/// Where each line of a chain comes from: the tools print a rule for each pair of addresses in its lists.
fn origins(chain: &Chain) -> Vec<&Origin> {
    let lines = |rule: &Rule| -> usize {
        let many = |one: &Match| if let Match::Address(_, nets) = one { nets.value.len() } else { 1 };
        rule.matches.iter().map(many).product()
    };
    chain.rules().iter().flat_map(|rule| vec![&rule.origin; lines(rule)]).collect()
}

struct Diff {
    text: String,
    colour: Colour,
}

impl Diff {
    fn part<'a, N: Ord + Display>(
        &mut self,
        title: &str,
        planned: &BTreeMap<N, Planned>,
        sides: Sides<'_>,
        origins: impl Fn(&str) -> Vec<&'a Origin>,
    ) {
        let changed = planned
            .iter()
            .filter(|(_, planned)| matches!(planned.action, Action::Create | Action::Update | Action::Delete));
        for (name, planned) in changed {
            let name = name.to_string();
            let lines = |side: Option<&Lines>| side.and_then(|side| side.get(&name)).cloned().unwrap_or_default();
            let (old, new) = (lines(sides.old), lines(sides.new));
            let origins = origins(&name);
            // where a rule was refused, lines and origins do not pair
            let origins = if origins.len() == new.len() { origins } else { Vec::new() };
            self.line("1", &format!("{title}: {} {name}", planned.action), None);
            self.chain(&old, &new, &origins);
            self.text.push('\n');
        }
    }

    fn chain(&mut self, old: &[String], new: &[String], origins: &[&Origin]) {
        let ops = capture_diff_slices(Algorithm::Myers, old, new);
        for (at, group) in similar::group_diff_ops(ops, AROUND).iter().enumerate() {
            if at > 0 {
                self.line("2", "  ...", None);
            }
            for change in group.iter().flat_map(|op: &DiffOp| op.iter_changes(old, new)) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ('-', "31"),
                    ChangeTag::Insert => ('+', "32"),
                    ChangeTag::Equal => (' ', "0"),
                };
                let origin = change.new_index().filter(|_| sign == '+').and_then(|at| origins.get(at));
                self.line(style, &format!("{sign} {}", change.value()), origin.copied());
            }
        }
    }

    /// A line, with the place that it comes from in a column of its own.
    fn line(&mut self, style: &str, text: &str, origin: Option<&Origin>) {
        let origin = origin.map(|origin| format!("{:pad$}  # {origin}", "", pad = 80usize.saturating_sub(text.len())));
        let origin = origin.unwrap_or_default();
        // a String takes everything
        let _ = match self.colour {
            Colour::Yes => writeln!(self.text, "\x1b[{style}m{text}\x1b[0m\x1b[2m{origin}\x1b[0m"),
            Colour::No => writeln!(self.text, "{text}{origin}"),
        };
    }
}
