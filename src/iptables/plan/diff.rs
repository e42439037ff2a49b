//! The changes that make the live rules equal to the wanted ones.
use super::live::{BRIDGE_HOOKS, HookJump, Live, LiveBridge, LiveChain, LiveSets, LiveTable, Part, hooks_of};
use crate::iptables::ruleset::{
    BridgeChain, ChainName, Chains, MacStyle, Ruleset, SetName, Signature, Table, TableName,
};
use crate::listing::PlannedAction;
use crate::model::{Family, PerFamily};
use crate::parallel;
use itertools::{EitherOrBoth, Itertools};
use std::collections::{BTreeMap, BTreeSet};

/// A chain or set of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The action.
    pub action: PlannedAction,
    /// The wanted signature; for deleted and ignored ones the live signature, if any.
    pub signature: Option<Signature>,
}

/// The changes of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePlan {
    /// All chains of ours, wanted or live.
    pub chains: BTreeMap<ChainName, Planned>,
    /// The built-in chains that lack their jump to our entry chain.
    pub missing_hooks: Vec<HookJump>,
    /// The built-in chains with duplicate jumps, and their number.
    pub surplus_hooks: Vec<(HookJump, usize)>,
    /// Deleted chains that rules of other programs jump to: they are only flushed.
    pub pinned: BTreeSet<ChainName>,
}

/// The changes of the IP sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetPlan {
    /// All sets of ours, wanted or live.
    pub sets: BTreeMap<SetName, Planned>,
    /// Those of `sets` whose live set has another type or family, so that it cannot be swapped.
    pub retyped: BTreeSet<SetName>,
    /// Left by an interrupted update; to be destroyed.
    pub stale: BTreeSet<SetName>,
}

/// The changes of all parts. A part that could not be read has no changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The table `filter`.
    pub filter: PerFamily<TablePlan>,
    /// The table `raw`.
    pub raw: PerFamily<TablePlan>,
    /// The ebtables chains.
    pub bridge: TablePlan,
    /// The IP sets.
    pub sets: SetPlan,
}

impl Plan {
    /// Compares the wanted with the live rules.
    #[must_use]
    pub fn new(wanted: &Ruleset, live: &Live) -> Self {
        Plan::with_kept(wanted, live, |_| BTreeSet::new())
    }

    /// Like [`new`](Self::new), but besides [`Ruleset::kept`], some live chains of single parts are kept unchanged.
    #[must_use]
    pub fn with_kept(wanted: &Ruleset, live: &Live, kept: impl Fn(Part) -> BTreeSet<ChainName> + Sync) -> Self {
        let mut plan = Plan::default();
        let mut in_use = BTreeSet::new();
        let kept = |part| &kept(part) | &wanted.kept;
        let of_family = |family| {
            let tables = TableName::ALL.into_iter().filter_map(|table| {
                let live = live.table(table, family).as_ref().ok()?;
                let kept = kept(Part::Table(table, family));
                let changes = TablePlan::new(wanted.table(table, family), live, table, &kept);
                Some((table, family, changes, sets_in_use(live, &kept)))
            });
            tables.collect::<Vec<_>>()
        };
        let threads = parallel::threads_for(wanted.filter.v4.len());
        let (v4, v6) = parallel::both(threads, || of_family(Family::V4), || of_family(Family::V6));
        for (table, family, changes, mut sets) in v4.into_iter().chain(v6) {
            *plan.table_mut(table, family) = changes;
            in_use.append(&mut sets);
        }
        if let Ok(bridge) = &live.bridge {
            plan.bridge = TablePlan::bridge(&wanted.bridge, bridge, &kept(Part::Bridge));
        }
        if let Ok(live) = &live.sets {
            let sets = wanted.sets.iter().map(|(name, set)| (name, Compared::signed(set.signature(name))));
            let live_sets = live.sets.iter().map(|(name, signature)| (name, Compared::signed(*signature)));
            let sets = planned(sets, live_sets, &in_use, &BTreeSet::new());
            let retyped = wanted
                .sets
                .iter()
                .filter(|(name, set)| live.kinds.get(*name).is_some_and(|kind| *kind != Some(set.family)));
            let retyped = retyped.map(|(name, _)| name.clone()).collect();
            plan.sets = SetPlan { sets, retyped, stale: live.stale.clone() };
        }
        plan
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts().next().is_none()
    }

    /// The parts with changes.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| match part {
            Part::Table(table, family) => !self.table(*table, *family).is_empty(),
            Part::Bridge => !self.bridge.is_empty(),
            Part::Sets => !self.sets.is_empty(),
        })
    }

    /// The changes of an iptables table.
    #[must_use]
    pub fn table(&self, table: TableName, family: Family) -> &TablePlan {
        match table {
            TableName::Filter => &self.filter[family],
            TableName::Raw => &self.raw[family],
        }
    }

    fn table_mut(&mut self, table: TableName, family: Family) -> &mut TablePlan {
        match table {
            TableName::Filter => &mut self.filter[family],
            TableName::Raw => &mut self.raw[family],
        }
    }

    /// Removes the changes of these sets.
    pub fn exclude_sets<'a>(&mut self, sets: impl IntoIterator<Item = &'a SetName>) {
        for name in sets {
            if let Some(planned) =
                self.sets.sets.get_mut(name).filter(|planned| planned.action == PlannedAction::Update)
            {
                planned.action = PlannedAction::Ignore;
            }
        }
    }

    /// Removes the changes of the tables of a family.
    pub fn exclude_family(&mut self, family: Family) {
        self.filter[family] = TablePlan::default();
        self.raw[family] = TablePlan::default();
    }
}

impl TablePlan {
    /// Compares one iptables table. The live chains in `kept` are not changed, nor are the chains that they jump to.
    #[must_use]
    pub fn new(wanted: &Table, live: &LiveTable, table: TableName, kept: &BTreeSet<ChainName>) -> Self {
        // the signature identifies the generated rules, and the number of rules detects later additions and deletions
        let wanted = wanted.iter().map(|(name, chain)| {
            (name, Compared { signature: Some(chain.signature(name)), rules: chain.expanded() + 1 })
        });
        let content = |chain: &LiveChain| Compared { signature: chain.signature, rules: chain.rules };
        table_plan(wanted, live, kept, content, hooks_of(table))
    }

    /// Compares the ebtables chains, with MAC addresses in the format of the variant.
    #[must_use]
    pub fn bridge(wanted: &Chains<BridgeChain>, live: &LiveBridge, kept: &BTreeSet<ChainName>) -> Self {
        let wanted = wanted.iter().map(|(name, chain)| (name, Compared::signed(chain.signature(name, live.style))));
        let content = |chain: &LiveChain| Compared { signature: chain.signature, rules: 0 };
        table_plan(wanted, &live.table, kept, content, BRIDGE_HOOKS)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing_hooks.is_empty() && self.surplus_hooks.is_empty() && is_unchanged(&self.chains)
    }

    /// The chains with this action.
    pub fn with(&self, action: PlannedAction) -> impl Iterator<Item = &ChainName> {
        self.chains.iter().filter(move |(_, planned)| planned.action == action).map(|(name, _)| name)
    }

    /// The chains that differ from the plan in a table that was read after the update.
    pub fn unfinished<'a>(&'a self, live: &'a LiveTable) -> impl Iterator<Item = &'a ChainName> {
        let finished = |name: &ChainName, planned: &Planned| {
            let chain = live.chains.get(name);
            match planned.action {
                PlannedAction::Create | PlannedAction::Update | PlannedAction::Exists => {
                    chain.is_some_and(|chain| chain.signature == planned.signature)
                }
                PlannedAction::Delete => chain.is_none_or(|chain| chain.rules == 0 && self.pinned.contains(name)),
                PlannedAction::Ignore => true,
            }
        };
        self.chains.iter().filter(move |(name, planned)| !finished(name, planned)).map(|(name, _)| name)
    }
}

impl SetPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stale.is_empty() && is_unchanged(&self.sets)
    }

    /// The sets with this action.
    pub fn with(&self, action: PlannedAction) -> impl Iterator<Item = &SetName> {
        self.sets.iter().filter(move |(_, planned)| planned.action == action).map(|(name, _)| name)
    }

    /// The wanted sets that differ from the plan in sets that were read after the update.
    pub fn unfinished<'a>(&'a self, live: &'a LiveSets) -> impl Iterator<Item = &'a SetName> {
        let finished = |name: &SetName, planned: &Planned| match planned.action {
            PlannedAction::Create | PlannedAction::Update | PlannedAction::Exists => {
                live.sets.get(name).copied() == planned.signature
            }
            PlannedAction::Delete | PlannedAction::Ignore => true,
        };
        self.sets.iter().filter(move |(name, planned)| !finished(name, planned)).map(|(name, _)| name)
    }
}

/// The format of MAC addresses in live ebtables chains.
pub(super) fn bridge_style(live: &Live) -> MacStyle {
    live.bridge.as_ref().map_or(MacStyle::Short, |bridge| bridge.style)
}

fn is_unchanged<N>(planned: &BTreeMap<N, Planned>) -> bool {
    planned.values().all(|planned| matches!(planned.action, PlannedAction::Exists | PlannedAction::Ignore))
}

/// The live chains that `kept` chains jump to, directly or indirectly.
fn reached_from(live: &LiveTable, kept: &BTreeSet<ChainName>) -> BTreeSet<ChainName> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&ChainName> = kept.iter().collect();
    while let Some(name) = open.pop() {
        let Some(chain) = live.chains.get(name) else { continue };
        open.extend(chain.references.chains.iter().filter(|next| reached.insert((*next).clone())));
    }
    reached
}

/// The sets used by rules of other programs and by kept chains.
fn sets_in_use(live: &LiveTable, kept: &BTreeSet<ChainName>) -> BTreeSet<SetName> {
    let reached = reached_from(live, kept);
    let chains = kept.union(&reached).filter_map(|name| live.chains.get(name)).map(|chain| &chain.references);
    chains.chain([&live.foreign]).flat_map(|references| references.sets.iter().cloned()).collect()
}

/// The compared properties of a chain or set.
#[derive(PartialEq, Eq)]
struct Compared {
    /// `None` if it is live and was not generated by us.
    signature: Option<Signature>,
    /// The number of rules; 0 where only the signature is compared.
    rules: usize,
}

impl Compared {
    fn signed(signature: Signature) -> Self {
        Compared { signature: Some(signature), rules: 0 }
    }
}

fn table_plan<'a>(
    wanted: impl Iterator<Item = (&'a ChainName, Compared)>,
    live: &'a LiveTable,
    kept: &BTreeSet<ChainName>,
    content: impl Fn(&LiveChain) -> Compared,
    hooks: &[HookJump],
) -> TablePlan {
    let reached = reached_from(live, kept);
    let live_chains = live.chains.iter().map(|(name, chain)| (name, content(chain)));
    let chains = planned(wanted, live_chains, &reached, kept);
    let mut plan = TablePlan { chains, ..Default::default() };
    for (name, planned) in &mut plan.chains {
        if planned.action == PlannedAction::Delete && live.foreign.chains.contains(name) {
            if live.chains.get(name).is_some_and(|chain| chain.rules > 0) {
                plan.pinned.insert(name.clone());
            } else {
                planned.action = PlannedAction::Ignore;
            }
        }
    }
    for hook in hooks {
        let entry = plan.chains.get(&ChainName::from(hook.to)).map(|planned| planned.action);
        let stays = entry.is_some_and(|action| action != PlannedAction::Delete);
        let wanted = usize::from(stays && (entry != Some(PlannedAction::Ignore) || live.hooks.contains_key(hook)));
        let count = live.hooks.get(hook).copied().unwrap_or(0);
        if count < wanted {
            plan.missing_hooks.push(*hook);
        } else if count > wanted {
            plan.surplus_hooks.push((*hook, count - wanted));
        }
    }
    plan
}

/// Diffs wanted against live by name, both in the order of names. A live item that is not wanted is kept if it is in
/// `reached`; an item in `kept` is always kept.
fn planned<'a, N: Ord + Clone + 'a>(
    wanted: impl Iterator<Item = (&'a N, Compared)>,
    live: impl Iterator<Item = (&'a N, Compared)>,
    reached: &BTreeSet<N>,
    kept: &BTreeSet<N>,
) -> BTreeMap<N, Planned> {
    let plan = |pair: EitherOrBoth<(&N, Compared), (&N, Compared)>| {
        let (name, action, signature) = match pair {
            EitherOrBoth::Left((name, wanted)) => (name, PlannedAction::Create, wanted.signature),
            EitherOrBoth::Both(_, (name, live)) if kept.contains(name) => (name, PlannedAction::Ignore, live.signature),
            EitherOrBoth::Both((name, wanted), (_, live)) => {
                let action = if wanted == live { PlannedAction::Exists } else { PlannedAction::Update };
                (name, action, wanted.signature)
            }
            EitherOrBoth::Right((name, live)) => {
                let stays = kept.contains(name) || reached.contains(name);
                (name, if stays { PlannedAction::Ignore } else { PlannedAction::Delete }, live.signature)
            }
        };
        (name.clone(), Planned { action, signature })
    };
    wanted.merge_join_by(live, |(wanted, _), (live, _)| wanted.cmp(live)).map(plan).collect()
}
