//! The rules of all guests: those of a guest are compiled again if its files have changed, and replaced among all others.
use super::guest_ruleset::GuestRuleset;
use super::sets::{DroppedSets, Sets};
use super::shared_config::{Basis, SharedConfig};
use crate::config::GuestConfig;
use crate::iptables::names;
use crate::iptables::ruleset::{Rule, Ruleset};
use crate::model::{Family, Interface, PerFamily, Report};
use crate::parallel;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The rules of all guests.
#[derive(Default)]
pub struct GuestRulesets {
    /// The rules of each guest, in their order.
    guests: Vec<CachedGuest>,
    /// The sets of all files and the chains of all guests; `None` before they are needed.
    all: Option<AllGuests>,
}

/// The rules of a guest with their inputs.
struct CachedGuest {
    guest: Arc<GuestConfig>,
    /// Its sets dropped for name collisions.
    dropped: DroppedSets,
    rules: Arc<GuestRuleset>,
}

/// The sets of all files and the chains of all guests.
struct AllGuests {
    /// The files of cluster and host whose sets are included.
    shared: Arc<SharedConfig>,
    ruleset: Ruleset,
    /// The reports about sets dropped for name collisions.
    reports: Vec<Report>,
}

/// The difference between the rules of all guests before and after an update.
pub struct Change {
    removed: Vec<Arc<GuestRuleset>>,
    added: Vec<Arc<GuestRuleset>>,
}

/// The parts of the guests' rules to which the chains of the node refer.
pub struct GuestLinks {
    /// The devices with rules.
    pub devices: Vec<Interface>,
    /// The rules of PVEFW-IPS.
    pub to_queues: Vec<Rule>,
    /// The groups that the rules use.
    pub groups: BTreeSet<String>,
}

impl Change {
    /// The number of guests whose rules were compiled.
    pub fn compiled(&self) -> usize {
        self.added.len()
    }
}

impl GuestRulesets {
    /// Generates the sets and chains of all guests, or replaces those that have changed.
    pub fn update(&mut self, change: &Change, shared: &Arc<SharedConfig>, basis: &Basis) {
        let old = self.all.take().filter(|old| Arc::ptr_eq(&old.shared, shared));
        let replaced = old.and_then(|old| old.replace(change));
        self.all = Some(replaced.unwrap_or_else(|| self.join(shared, basis)));
    }

    /// Discards the sets and chains of all guests.
    pub fn clear(&mut self) {
        self.all = None;
    }

    /// The parts to which the chains of the node refer. They do not depend on dropped sets.
    pub fn links(&self) -> GuestLinks {
        let groups: BTreeSet<&String> = self.iter().flat_map(|rules| &rules.groups).collect();
        GuestLinks {
            devices: self.iter().flat_map(|rules| rules.devices.iter().cloned()).collect(),
            to_queues: self.iter().flat_map(|rules| rules.to_queues.iter().cloned()).collect(),
            groups: groups.into_iter().cloned().collect(),
        }
    }

    /// The rules of each guest, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<GuestRuleset>> + Clone {
        self.guests.iter().map(|known| &known.rules)
    }

    /// The sets of all files and the chains of all guests.
    pub fn ruleset(&self) -> Ruleset {
        let mut ruleset = self.all.as_ref().map(|all| all.ruleset.clone()).unwrap_or_default();
        let kept = self.iter().filter(|rules| rules.kept).flat_map(|rules| &rules.devices);
        ruleset.kept = kept.flat_map(names::device_chains).collect();
        ruleset
    }

    /// The reports about sets dropped for name collisions.
    pub fn set_reports(&self) -> &[Report] {
        self.all.as_ref().map_or(&[], |all| &all.reports)
    }

    /// Compiles the rules of guests that are not cached; [`update`](Self::update) adds them to those of all guests.
    pub fn compile(&mut self, guests: &[Arc<GuestConfig>], basis: &Basis, threads: usize) -> Change {
        // both are in the same order
        let mut old = std::mem::take(&mut self.guests).into_iter().peekable();
        let mut removed = Vec::new();
        let mut known: Vec<Option<CachedGuest>> = Vec::with_capacity(guests.len());
        for guest in guests {
            while let Some(gone) = old.next_if(|old| old.guest.listed < guest.listed) {
                removed.push(gone.rules);
            }
            known.push(old.next_if(|old| Arc::ptr_eq(&old.guest, guest)));
        }
        removed.extend(old.map(|gone| gone.rules));
        let missing: Vec<&Arc<GuestConfig>> =
            guests.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(guest, _)| guest).collect();
        let added =
            parallel::map(&missing, threads, |guest| Arc::new(GuestRuleset::make(guest, &DroppedSets::new(), basis)));
        let mut made = added.iter().cloned();
        let mut new = |guest: &Arc<GuestConfig>| {
            let rules = made.next()?;
            Some(CachedGuest { guest: guest.clone(), dropped: DroppedSets::new(), rules })
        };
        self.guests = guests.iter().zip(known).filter_map(|(guest, known)| known.or_else(|| new(guest))).collect();
        Change { removed, added }
    }

    /// Joins the rules of all guests. A guest with a set that is dropped for a name collision is compiled again.
    fn join(&mut self, shared: &Arc<SharedConfig>, basis: &Basis) -> AllGuests {
        let mut sets = Sets::default();
        sets.add(&shared.sets);
        let mut by_vmid: Vec<&mut CachedGuest> = self.guests.iter_mut().collect();
        by_vmid.sort_unstable_by_key(|known| known.guest.listed.vmid);
        for known in by_vmid {
            let dropped: DroppedSets = sets.add(&known.rules.sets);
            if known.dropped != dropped {
                known.rules = Arc::new(GuestRuleset::make(&known.guest, &dropped, basis));
                known.dropped = dropped;
            }
        }
        let table = |family| self.iter().flat_map(|rules| &rules.filter[family]).cloned().collect();
        let filter = PerFamily { v4: table(Family::V4), v6: table(Family::V6) };
        let bridge = self.iter().flat_map(|rules| &rules.bridge).cloned().collect();
        let ruleset = Ruleset { filter, bridge, sets: sets.live, ..Ruleset::default() };
        AllGuests { shared: shared.clone(), ruleset, reports: sets.reports }
    }
}

impl AllGuests {
    /// Replaces the rules of guests. `None` if a set has the same name as another, as it depends on all files then which one is
    /// dropped.
    fn replace(mut self, Change { removed, added }: &Change) -> Option<Self> {
        if !self.reports.is_empty() {
            return None;
        }
        let Ruleset { filter, raw: _, bridge, sets, kept: _ } = &mut self.ruleset;
        for rules in removed {
            for family in Family::ALL {
                rules.filter[family].iter().for_each(|(name, _)| drop(filter[family].remove(name)));
                rules.sets.iter().for_each(|set| drop(sets.remove(&set.names[family])));
            }
            rules.bridge.iter().for_each(|(name, _)| drop(bridge.remove(name)));
        }
        let mut all = Sets { live: std::mem::take(sets), reports: Vec::new() };
        for rules in added {
            for family in Family::ALL {
                filter[family].extend(rules.filter[family].iter().cloned());
            }
            bridge.extend(rules.bridge.iter().cloned());
            all.add(&rules.sets);
        }
        *sets = all.live;
        all.reports.is_empty().then_some(self)
    }
}
