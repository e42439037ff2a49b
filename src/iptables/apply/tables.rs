//! The steps with restore tools: the iptables tables, and ebtables.
use super::bisect::{self, Budget};
use super::commands::{Commands, Tool};
use super::quarantine::Lasting;
use super::restore::Restore;
use super::rules::{Chains, RefusedRule, Rules};
use super::{Firewall, Outcome, Pass, Steps, Toolbox, others, read};
use crate::iptables::plan::{
    Live, LiveBridge, LiveTable, Part, Plan, Script, TableName, TablePlan, bridge_script, table_script,
};
use crate::iptables::ruleset::{ChainName, Ruleset};
use crate::model::Family;
use crate::paths;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The live rules, the programs that change them, and for the variant in use the file for the last script and the plan.
type To<'a, L> = (&'a L, &'a Commands, Option<(&'static str, &'a TablePlan)>);

/// One part: the wanted rules, and functions to plan and render it.
struct Step<'a, R> {
    restore: Restore<'a>,
    /// The file for the last script, and the plan without refused rules.
    first: Option<(&'static str, &'a TablePlan)>,
    wanted: &'a Chains<R>,
    live: &'a LiveTable,
    plan: &'a dyn Fn(&Chains<R>, &BTreeSet<ChainName>) -> TablePlan,
    script: &'a dyn Fn(&TablePlan, &Chains<R>) -> Script<ChainName>,
}

impl Steps<'_> {
    /// One iptables table.
    pub(super) fn update_table(&mut self, table: TableName, family: Family, plan: &Plan, pass: &mut Pass<'_>) {
        let file = match (table, family) {
            (TableName::Filter, Family::V4) => paths::SCRIPT_IP4,
            (TableName::Raw, Family::V4) => paths::SCRIPT_IP4_RAW,
            (TableName::Filter, Family::V6) => paths::SCRIPT_IP6,
            (TableName::Raw, Family::V6) => paths::SCRIPT_IP6_RAW,
        };
        let Ok(commands) = self.tools.variants.commands(Tool::Iptables(family)).cloned() else { return };
        let Ok(live) = pass.live.table(table, family) else { return };
        self.apply_table(table, family, (live, &commands, Some((file, plan.table(table, family)))), pass);
    }

    /// The ebtables chains.
    pub(super) fn update_bridge(&mut self, plan: &Plan, pass: &mut Pass<'_>) {
        let Ok(commands) = self.tools.variants.commands(Tool::Ebtables).cloned() else { return };
        let Ok(live) = &pass.live.bridge else { return };
        self.apply_bridge((live, &commands, Some((paths::SCRIPT_EBTABLES, &plan.bridge))), pass);
    }

    fn apply_table(&mut self, table: TableName, family: Family, to: To<'_, LiveTable>, pass: &mut Pass<'_>) {
        let (live, commands, first) = to;
        let step = Step {
            restore: self.tools.restore(Part::Table(table, family), commands),
            first,
            wanted: pass.wanted.table(table, family),
            live,
            plan: &|wanted, kept| TablePlan::new(wanted, live, table, kept),
            script: &|plan, wanted| table_script(plan, wanted, table),
        };
        self.carry(&step, pass);
    }

    fn apply_bridge(&mut self, (live, commands, first): To<'_, LiveBridge>, pass: &mut Pass<'_>) {
        let step = Step {
            restore: self.tools.restore(Part::Bridge, commands),
            first,
            wanted: &pass.wanted.bridge,
            live: &live.table,
            plan: &|wanted, kept| TablePlan::bridge(wanted, live, kept),
            script: &|plan, wanted| bridge_script(plan, wanted, live.style),
        };
        self.carry(&step, pass);
    }

    /// Applies one part without the rules that the tool refuses.
    fn carry<R: Rules>(&mut self, step: &Step<'_, R>, pass: &mut Pass<'_>) {
        let part = step.restore.part;
        let mut budget = Budget::new();
        loop {
            let accepted = self.refused.accepted_in(part, step.wanted);
            let plan = match (step.first, &accepted) {
                (Some((_, plan)), Cow::Borrowed(_)) => plan.clone(),
                _ => (step.plan)(&accepted, &(&self.refused.kept(part) | &pass.wanted.kept)),
            };
            if plan.is_empty() {
                return;
            }
            let script = (step.script)(&plan, &accepted);
            if let Some((file, _)) = step.first {
                self.tools.keep(file, &script.text);
            }
            pass.touched.insert(part);
            let Err(failure) = step.restore.run(&script.text) else {
                pass.outcome.changed = true;
                pass.tried.push((part, plan));
                return;
            };
            let mut found = Vec::new();
            // if another program has changed the table since it was read, the refusal proves nothing
            if failure.is_refusal() && self.tools.reads_as(&step.restore, step.live) && budget.take() {
                found = bisect::refused(&step.restore, &failure, (&plan, &script, &accepted), &mut budget);
            }
            if found.is_empty() {
                pass.fault(part, &failure.error);
                pass.tried.push((part, plan));
                return;
            }
            let found = self.refused.original_places(part, found);
            // possibly refused because of a missing set
            let into_new_set = |(name, at, _): &RefusedRule| {
                let mut sets = step.wanted.get(name).into_iter().flat_map(|chain| chain.sets(*at));
                sets.any(|set| pass.live.sets.as_ref().map_or(true, |live| !live.sets.contains_key(set)))
            };
            let unseen = found.iter().any(into_new_set);
            let lasting = if unseen { Lasting::UntilSetsAreRead } else { Lasting::Yes };
            self.refused.learn(part, step.wanted, step.live, found, lasting);
        }
    }
}

impl Toolbox {
    fn restore<'a>(&self, part: Part, commands: &'a Commands) -> Restore<'a> {
        Restore { commands, part, limit: self.limit, ebtables_lock: self.root.path(paths::EBTABLES_LOCK) }
    }

    /// Whether a part is still unchanged.
    fn reads_as(&self, restore: &Restore<'_>, live: &LiveTable) -> bool {
        match restore.part {
            Part::Table(table, _) => read::table(table, restore.commands, self.limit).is_ok_and(|now| now == *live),
            _ => read::bridge(restore.commands, self.limit).is_ok_and(|now| now.table == *live),
        }
    }
}

impl Firewall {
    /// Removes our rules from variants that are not in use.
    pub(super) fn clear_variants(&mut self, variants: &[(Tool, Commands)], outcome: &mut Outcome) {
        let (nothing, empty) = (Ruleset::default(), Live::empty());
        for (tool, commands) in variants {
            let mut steps = Steps { tools: &self.tools, refused: &mut self.refused };
            let mut pass = Pass::new(&nothing, &empty);
            match tool {
                Tool::Iptables(family) => {
                    for table in TableName::ALL {
                        match read::table(table, commands, self.tools.limit) {
                            Ok(live) => steps.apply_table(table, *family, (&live, commands, None), &mut pass),
                            Err(_) if others::is_absent(*tool, commands.variant) => {}
                            Err(error) => pass.fault(Part::Table(table, *family), error),
                        }
                    }
                }
                Tool::Ebtables => match read::bridge(commands, self.tools.limit) {
                    Ok(live) => steps.apply_bridge((&live, commands, None), &mut pass),
                    Err(_) if others::is_absent(*tool, commands.variant) => {}
                    Err(error) => pass.fault(Part::Bridge, error),
                },
            }
            if pass.outcome.faults.is_empty() {
                self.tools.variants.cleared(*tool, commands.variant);
            }
            outcome.take_in(pass.outcome);
        }
    }
}
