//! `compile --diff`: the changes on the node for each chain, with the configuration line that causes each.
use crate::cli::style::{BAD, CHANGE, FAINT, GOOD, PLAIN, TITLE, paint, remarked};
use crate::iptables::apply::{Firewall, Lines, Texts, family_name};
use crate::iptables::plan::{Action, Live, Plan, Planned, TableName};
use crate::iptables::ruleset::{Chain, Ruleset};
use crate::model::{Family, Origin};
use anyhow::Result;
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Number of context lines around a change.
const AROUND: usize = 2;

/// The differences between live and wanted rules.
pub fn text(firewall: &mut Firewall, wanted: &Ruleset, live: &Live) -> Result<String> {
    let plan = Plan::new(wanted, live);
    if plan.is_empty() {
        return Ok("no changes\n".to_string());
    }
    let old = firewall.texts();
    let (new, outcome) = firewall.texts_of(wanted)?;
    let mut diff = Diff { text: String::new() };
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
        diff.text += &format!("{} {fault}\n", paint(CHANGE, "would be refused:"));
    }
    Ok(diff.text)
}

/// The live and the wanted lines of a part.
struct Sides<'a> {
    old: Option<&'a Lines>,
    new: Option<&'a Lines>,
}

impl<'a> Sides<'a> {
    fn of(old: &'a Texts, new: &'a Texts, pick: impl Fn(&'a Texts) -> &'a Lines) -> Self {
        Sides { old: Some(pick(old)), new: Some(pick(new)) }
    }
}

/// The origin of each line of a chain: the tools print a rule for each pair of addresses in its lists.
fn origins(chain: &Chain) -> Vec<&Origin> {
    chain.rules().iter().flat_map(|rule| vec![&rule.origin; rule.expanded()]).collect()
}

struct Diff {
    text: String,
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
            // if a rule was refused, lines and origins do not correspond
            let origins = if origins.len() == new.len() { origins } else { Vec::new() };
            self.text += &(paint(TITLE, format_args!("{title}: {} {name}", planned.action)) + "\n");
            self.chain(&old, &new, &origins);
            self.text.push('\n');
        }
    }

    fn chain(&mut self, old: &[String], new: &[String], origins: &[&Origin]) {
        let ops = capture_diff_slices(Algorithm::Myers, old, new);
        for (at, group) in similar::group_diff_ops(ops, AROUND).iter().enumerate() {
            if at > 0 {
                self.text += &(paint(FAINT, "  ...") + "\n");
            }
            for change in group.iter().flat_map(|op: &DiffOp| op.iter_changes(old, new)) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ('-', BAD),
                    ChangeTag::Insert => ('+', GOOD),
                    ChangeTag::Equal => (' ', PLAIN),
                };
                let origin = change.new_index().filter(|_| sign == '+').and_then(|at| origins.get(at));
                self.text += &remarked(style, &format!("{sign} {}", change.value()), origin);
            }
        }
    }
}
