//! Diffs wanted against live by name.
use super::elements::{fits_dynamic, fits_map, fits_set, key_name, map_key, same_elements, same_verdict};
use super::live_cache::{CachedChain, CachedTable, LiveCache};
use super::rule_edits::{Edit, edits};
use crate::model::Interface;
use crate::nftables::names::{CONNTRACK, Name, TableName, guest_of_chain};
use crate::nftables::ruleset::{Chain, Hook, Map, Ruleset, Table};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// With more rules than this in a table, inserting a rule between two others takes nft longer than the rest of a change.
const MAX_CHEAP_INSERTS: usize = 500;

/// The changes that make the live tables equal to the wanted ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes by table; a table without changes is absent.
    pub tables: BTreeMap<TableName, TablePlan>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// The changes of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePlan {
    /// Whether the live table is deleted first.
    pub deletes_table: bool,
    /// Whether the table exists afterwards.
    pub wanted: bool,
    /// The chains that change.
    pub chains: BTreeMap<String, ChainChange>,
    /// The sets that change, including dynamic ones.
    pub sets: BTreeMap<String, SetChange>,
    /// The elements of maps that are deleted, and those that are added, by map.
    pub elements: BTreeMap<String, (Vec<Interface>, Vec<Interface>)>,
    /// The helpers that are added.
    pub new_objects: BTreeSet<String>,
    /// The helpers and other objects that are deleted.
    pub old_objects: BTreeSet<String>,
}

/// The change of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainChange {
    /// It is added.
    Create,
    /// All its rules are replaced.
    Rewrite,
    /// Some of its rules are replaced, in this order.
    Edit(Vec<Edit>),
    /// It is deleted.
    Delete,
}

/// The change of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetChange {
    /// It is added.
    Create,
    /// Its elements are replaced.
    Refill,
    /// It is deleted and added again, because its type differs.
    Recreate,
    /// It is deleted.
    Delete,
}

/// Returns the live handles of a chain's rules, if the rules are still the known ones.
pub type Handles<'a> = &'a dyn Fn(TableName, &str) -> Option<Vec<u64>>;

/// Compares the wanted tables with the live ones.
#[must_use]
pub fn diff(wanted: &Ruleset, known: &LiveCache, handles: Handles<'_>) -> Plan {
    let mut plan = Plan::default();
    for name in TableName::ALL {
        let live = known.tables.get(&name);
        let changes = match (wanted.tables.get(&name), live) {
            (None, None) => continue,
            (None, Some(_)) => TablePlan { deletes_table: true, ..TablePlan::default() },
            (Some(wanted), None) => all_of(wanted),
            (Some(table), Some(live)) if !fits(table, live) => TablePlan { deletes_table: true, ..all_of(table) },
            (Some(table), Some(live)) => Differ { name, wanted: table, live, ruleset: wanted, handles }.diff(),
        };
        if changes != (TablePlan { wanted: true, ..TablePlan::default() }) {
            plan.tables.insert(name, changes);
        }
    }
    plan
}

/// The plan for a table that does not exist.
fn all_of(wanted: &Table) -> TablePlan {
    let text = |name: &Name| name.as_str().to_string();
    let sets = wanted.sets.keys().chain(wanted.dynamic_sets.keys()).chain(wanted.maps.keys());
    let elements = |(name, map): (&_, &Map)| (text(name), (Vec::new(), map.elements.keys().cloned().collect()));
    TablePlan {
        deletes_table: false,
        wanted: true,
        chains: wanted.chains.keys().map(|name| (text(name), ChainChange::Create)).collect(),
        sets: sets.map(|name| (text(name), SetChange::Create)).collect(),
        elements: wanted.maps.iter().filter(|(_, map)| !map.elements.is_empty()).map(elements).collect(),
        new_objects: wanted.helpers.keys().map(text).collect(),
        old_objects: BTreeSet::new(),
    }
}

/// Whether a live table can be changed to the wanted one, instead of being deleted first: all hooks and maps have the same
/// type.
fn fits(wanted: &Table, live: &CachedTable) -> bool {
    let ours = live.chains.get(CONNTRACK).is_some_and(|chain| chain.signature.is_some());
    let hooks = differing(&live.equal.chains, &wanted.chains).all(|(name, chain)| {
        live.chains
            .get(name.as_str())
            .is_none_or(|live| live.hook == chain.hook().and_then(Hook::numbers) && !live.drops)
    });
    let maps =
        wanted.maps.iter().all(|(name, map)| live.sets.get(name.as_str()).is_none_or(|live| fits_map(live, map)));
    ours && hooks && maps && !live.dormant
}

/// The wanted entries that are not among those known to be live.
fn differing<'a, V: PartialEq>(
    known: &'a OrdMap<Name, V>,
    wanted: &'a OrdMap<Name, V>,
) -> impl Iterator<Item = (&'a Name, &'a V)> {
    known.diff(wanted).filter_map(|item| match item {
        DiffItem::Add(name, one) | DiffItem::Update { old: _, new: (name, one) } => Some((name, one)),
        DiffItem::Remove(..) => None,
    })
}

struct Differ<'a> {
    name: TableName,
    wanted: &'a Table,
    live: &'a CachedTable,
    ruleset: &'a Ruleset,
    handles: Handles<'a>,
}

impl Differ<'_> {
    fn diff(&self) -> TablePlan {
        let mut plan = TablePlan { wanted: true, ..TablePlan::default() };
        self.sets(&mut plan);
        self.chains(&mut plan);
        self.maps(&mut plan);
        for name in self.wanted.helpers.keys().filter(|name| !self.live.objects.contains(name.as_str())) {
            plan.new_objects.insert(name.as_str().to_string());
        }
        let stale = self.live.objects.iter().filter(|name| !self.wanted.helpers.contains_key(name.as_str()));
        plan.old_objects = stale.cloned().collect();
        plan
    }

    fn sets(&self, plan: &mut TablePlan) {
        for (name, set) in differing(&self.live.equal.sets, &self.wanted.sets) {
            let change = match self.live.sets.get(name.as_str()) {
                None => SetChange::Create,
                Some(live) if !fits_set(live, set) => SetChange::Recreate,
                Some(live) if !same_elements(live, set) => SetChange::Refill,
                Some(_) => continue,
            };
            plan.sets.insert(name.as_str().to_string(), change);
        }
        for (name, set) in &self.wanted.dynamic_sets {
            let change = match self.live.sets.get(name.as_str()) {
                None => SetChange::Create,
                Some(live) if !fits_dynamic(live, set) => SetChange::Recreate,
                Some(_) => continue,
            };
            plan.sets.insert(name.as_str().to_string(), change);
        }
        for name in self.wanted.maps.keys().filter(|name| !self.live.sets.contains_key(name.as_str())) {
            plan.sets.insert(name.as_str().to_string(), SetChange::Create);
        }
        // live chains that are kept may use any set
        for name in self.live.sets.keys().filter(|_| !self.ruleset.keeps_live_chains()) {
            let Table { chains: _, sets, maps, dynamic_sets, helpers: _ } = self.wanted;
            let name = name.as_str();
            if !sets.contains_key(name) && !maps.contains_key(name) && !dynamic_sets.contains_key(name) {
                plan.sets.insert(name.to_string(), SetChange::Delete);
            }
        }
    }

    fn chains(&self, plan: &mut TablePlan) {
        let recreated = |name: &str| plan.sets.get(name) == Some(&SetChange::Recreate);
        // a chain that uses such a set changes too
        let all = plan.sets.values().any(|change| *change == SetChange::Recreate);
        let (none, equal) = (OrdMap::new(), &self.live.equal.chains);
        for (name, chain) in differing(if all { &none } else { equal }, &self.wanted.chains) {
            let change = match self.live.chains.get(name.as_str()) {
                None => ChainChange::Create,
                Some(_) if self.ruleset.kept_chains.contains(&(self.name, name.clone())) => continue,
                Some(_) if uses(chain, &recreated) => ChainChange::Rewrite,
                Some(live) if live.matches(chain) => continue,
                Some(live) => self.change(name.as_str(), live, chain),
            };
            plan.chains.insert(name.as_str().to_string(), change);
        }
        for name in self.live.chains.keys().filter(|name| !self.wanted.chains.contains_key(name.as_str())) {
            // live chains that are kept may jump to any other
            let kept = match guest_of_chain(name) {
                Some(vmid) => self.ruleset.kept.contains(&vmid),
                None => self.ruleset.keeps_live_chains(),
            };
            if !kept {
                plan.chains.insert(name.clone(), ChainChange::Delete);
            }
        }
    }

    /// The change of a live chain to the wanted one: rule by rule, if the kernel keeps state for an unchanged rule.
    fn change(&self, name: &str, live: &CachedChain, wanted: &Chain) -> ChainChange {
        let Some(created) =
            live.created.as_ref().filter(|created| created.rules().iter().any(|rule| rule.action.has_state()))
        else {
            return ChainChange::Rewrite;
        };
        let handles = (self.handles)(self.name, name).filter(|handles| handles.len() == created.rules().len());
        let between = self.live_rules() <= MAX_CHEAP_INSERTS;
        let edits = handles.and_then(|handles| edits(created.rules(), wanted.rules(), &handles, between));
        edits.map_or(ChainChange::Rewrite, ChainChange::Edit)
    }

    /// The number of rules in the table.
    fn live_rules(&self) -> usize {
        self.live.chains.values().map(|chain| chain.rules).sum()
    }

    fn maps(&self, plan: &mut TablePlan) {
        for (name, map) in self.wanted.maps.iter().filter(|(name, map)| self.live.equal.maps.get(*name) != Some(*map)) {
            let live = self.live.sets.get(name.as_str()).map_or(&[][..], |live| &live.elements);
            let live: BTreeMap<&[u8], _> = live.iter().map(|element| (&element.key[..], element)).collect();
            let (mut old, mut new) = (Vec::new(), Vec::new());
            for (interface, target) in &map.elements {
                match live.get(&map_key(map.key, interface)[..]) {
                    Some(element) if same_verdict(element, target) => continue,
                    Some(_) => old.push(interface.clone()),
                    None => {}
                }
                new.push(interface.clone());
            }
            for (key, element) in &live {
                let Some(interface) = key_name(key) else { continue };
                let chain = element.verdict.as_ref().map_or("", |(_, chain)| chain);
                let kept = guest_of_chain(chain).is_some_and(|vmid| self.ruleset.kept.contains(&vmid));
                if !map.elements.contains_key(&interface) && !kept {
                    old.push(interface);
                }
            }
            if !old.is_empty() || !new.is_empty() {
                plan.elements.insert(name.as_str().to_string(), (old, new));
            }
        }
    }
}

fn uses(chain: &Arc<Chain>, recreated: &dyn Fn(&str) -> bool) -> bool {
    chain.sets().any(|name| recreated(name.as_str()))
}
