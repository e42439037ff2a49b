//! IP sets: their names in the kernel, and what is in them.
use super::builder::made;
use super::world::World;
use crate::config::{Alias, Guest, IpSet, Report, Scope, SetRef};
use crate::node::Device;
use crate::ruleset::{Family, Origin, PerFamily, Set, SetName};
use ipnet::{IpNet, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The longest name that is used as it is, in characters.
const LONGEST: usize = 20;

/// The name of a set in the kernel. The owner of cluster sets is 0. Long names are replaced by a hash.
pub fn set_name(vmid: u32, name: &str, family: Family) -> SetName {
    let version = match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    };
    let id = format!("{vmid}-{name}-{version}");
    let id = if id.len() > LONGEST { format!("{:X}", fnv1a(id.as_bytes()) & 0x7fff_ffff) } else { id };
    SetName::new(&format!("PVEFW-{id}")).expect("PVEFW- and at most 20 characters of a name")
}

/// FNV-1a, 32 bits.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The sets of a configuration, and those that are lost because another has their name in the kernel.
#[derive(Debug, Default)]
pub struct Sets {
    /// The sets by their names in the kernel.
    pub live: BTreeMap<SetName, Arc<Set>>,
    lost: BTreeSet<(u32, String)>,
}

/// What a set gets besides the lines of its section.
#[derive(Default)]
struct Extra {
    entries: Vec<(IpNet, bool)>,
    /// What they count for its size.
    count: usize,
}

impl Sets {
    /// All sets: those of the cluster, then those of the guests by VMID, each by name.
    pub fn of(world: &World, reports: &mut Vec<Report>) -> Self {
        let mut sets = Sets::default();
        let cluster = &world.cluster;
        for (name, set) in &cluster.definitions.sets {
            let extra = if name == "management" { management(&world.cluster.local_network) } else { Extra::default() };
            sets.add(0, name, set, &cluster.file, extra, reports);
        }
        let mut guests: Vec<_> =
            world.units.iter().filter_map(|unit| Some((unit.listed.vmid, unit.rules()?))).collect();
        guests.sort_unstable_by_key(|(vmid, _)| *vmid);
        for (vmid, (guest, devices)) in guests {
            sets.add_guest(vmid, guest, devices, reports);
        }
        sets
    }

    fn add_guest(&mut self, vmid: u32, guest: &Guest, devices: &[Device], reports: &mut Vec<Report>) {
        let mut all = BTreeMap::new();
        for device in devices {
            if has_ipfilter(guest, device) {
                all.insert(ipfilter(device), (IpSet::default(), own_addresses(device)));
            }
        }
        for (name, set) in &guest.definitions.sets {
            all.entry(name.clone()).or_default().0 = set.clone();
        }
        for (name, (set, extra)) in all {
            self.add(vmid, &name, &set, &guest.file, extra, reports);
        }
    }

    fn add(&mut self, vmid: u32, name: &str, set: &IpSet, file: &Arc<str>, extra: Extra, reports: &mut Vec<Report>) {
        let names = PerFamily { v4: set_name(vmid, name, Family::V4), v6: set_name(vmid, name, Family::V6) };
        let origin = match set.line {
            0 => made(format!("standard set {name} of {file}")),
            line => Origin::Line(file.clone(), line),
        };
        if let Some(taken) = Family::ALL.iter().find(|family| self.live.contains_key(&names[**family])) {
            let text = format!(
                "ipset '{name}' is lost: its name in the kernel, {}, belongs to another set already; choose another name",
                names[*taken]
            );
            reports.push(Report::line(file, set.line, text));
            self.lost.insert((vmid, name.to_string()));
            return;
        }
        let entries: Vec<_> = set.entries.iter().map(|entry| (entry.net, entry.nomatch)).chain(extra.entries).collect();
        for family in Family::ALL {
            let mut live = Set::new(family, set.lines + extra.count, origin.clone());
            for (net, nomatch) in entries.iter().filter(|(net, _)| Family::of(net.addr()) == family) {
                live.add(*net, *nomatch);
            }
            self.live.insert(names[family].clone(), Arc::new(live.signed(&names[family])));
        }
    }

    /// The name of a set in the kernel; `None` if the set is lost.
    pub fn name(&self, vmid: u32, reference: &SetRef, family: Family) -> Option<SetName> {
        let owner = match reference.scope {
            Scope::Cluster => 0,
            Scope::Guest => vmid,
        };
        (!self.lost.contains(&(owner, reference.name.clone()))).then(|| set_name(owner, &reference.name, family))
    }
}

/// The name of a device's filter set.
pub fn ipfilter(device: &Device) -> String {
    format!("ipfilter-{}", device.netid)
}

/// Whether the source addresses of a device are filtered: by a set of its own, or by the option.
pub fn has_ipfilter(guest: &Guest, device: &Device) -> bool {
    guest.options.ipfilter || guest.definitions.sets.contains_key(&ipfilter(device))
}

/// What a device's filter set always holds: the link-local address of its MAC and no other one, and a container's
/// configured addresses.
fn own_addresses(device: &Device) -> Extra {
    let link_local = device.mac.as_ref().map(|mac| (IpNet::from(IpAddr::V6(mac.value.link_local())), false));
    let all_link_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    let configured = device.addresses.iter().map(|address| (IpNet::from(*address), false));
    let entries: Vec<_> = link_local.into_iter().chain([(all_link_local.into(), true)]).chain(configured).collect();
    Extra { count: entries.len(), entries }
}

fn management(local_network: &Alias) -> Extra {
    Extra { entries: vec![(local_network.value, false)], count: 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_hashed() {
        for (vmid, name, family, expected) in [
            (0, "myset", Family::V4, "PVEFW-0-myset-v4"),
            (100, "ipfilter-net0", Family::V6, "PVEFW-100-ipfilter-net0-v6"),
            (0, "a-very-long-name-for-an-ip-set-that-hashes", Family::V4, "PVEFW-26416E0"),
            (0, "a-very-long-name-for-an-ip-set-that-hashes", Family::V6, "PVEFW-4641A06"),
        ] {
            assert_eq!(set_name(vmid, name, family).as_str(), expected);
        }
    }
}
