//! The rules of all guests: those of a guest are compiled again if its files have changed, and replaced in the table.
use super::{GuestInput, GuestPart, Shared, Uses, maps};
use crate::config::{Configuration, GuestConfig, GuestFiles};
use crate::nftables::ruleset::Table;
use crate::parallel;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rules of all guests with an enabled firewall.
pub struct GuestTables {
    /// The rules of each guest with their inputs, by VMID.
    parts: BTreeMap<u32, (Arc<GuestConfig>, Arc<GuestPart>)>,
    /// All chains, sets and elements of maps that only one guest has.
    table: Table,
}

impl Default for GuestTables {
    fn default() -> Self {
        GuestTables { parts: BTreeMap::new(), table: Table { maps: maps::of_devices(), ..Table::default() } }
    }
}

impl GuestTables {
    /// Updates them to a configuration. [`Shared`] is the same in all updates.
    pub fn update(&mut self, configuration: &Configuration, shared: &Shared, threads: usize) {
        let mut old = std::mem::take(&mut self.parts);
        let mut changed = Vec::new();
        for guest in &configuration.guests {
            let vmid = guest.listed.vmid;
            match old.remove(&vmid) {
                Some(known) if Arc::ptr_eq(&known.0, guest) => {
                    self.parts.insert(vmid, known);
                    continue;
                }
                Some((_, part)) => self.remove(&part),
                None => {}
            }
            if let GuestFiles::Read { firewall, devices } = &guest.files
                && firewall.options.enable
            {
                changed.push((guest, GuestInput { vmid, guest: firewall, devices }));
            }
        }
        old.values().for_each(|(_, part)| self.remove(part));
        let made = parallel::map(&changed, threads, |(_, input)| {
            Arc::new(GuestPart::make(input, shared, &configuration.databases))
        });
        for ((guest, _), part) in changed.into_iter().zip(made) {
            self.add(&part);
            self.parts.insert(part.vmid, (guest.clone(), part));
        }
    }

    fn add(&mut self, GuestPart { vmid, devices, part }: &GuestPart) {
        self.table.chains.extend(part.chains.iter().map(|(name, chain)| (name.clone(), chain.clone())));
        self.table.sets.extend(part.sets.iter().map(|(name, set)| (name.clone(), set.clone())));
        for (name, map) in &mut self.table.maps {
            let target = maps::target(name, *vmid);
            map.elements.extend(devices.iter().map(|device| (device.clone(), target.clone())));
        }
    }

    fn remove(&mut self, GuestPart { vmid: _, devices, part }: &GuestPart) {
        part.chains.keys().for_each(|name| drop(self.table.chains.remove(name)));
        part.sets.keys().for_each(|name| drop(self.table.sets.remove(name)));
        for map in self.table.maps.values_mut() {
            devices.iter().for_each(|device| drop(map.elements.remove(device)));
        }
    }

    /// What the rules of guests use.
    pub fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        self.parts.values().for_each(|(_, guest)| uses.join(&guest.part.uses));
        uses
    }

    /// The rules of the guests, and those of a table.
    pub fn added_to(&self, table: &Table) -> Table {
        let Table { chains, sets, maps, dynamic_sets, helpers } = table.clone();
        Table {
            chains: self.table.chains.clone().union(chains),
            sets: self.table.sets.clone().union(sets),
            maps: self.table.maps.clone().into_iter().chain(maps).collect(),
            dynamic_sets,
            helpers,
        }
    }
}
