//! IP sets: their names in the kernel, and their entries.
use super::chain_builder::generated;
use crate::config::{Alias, Cluster, Guest, IpSet, Sdn, SdnSet, SetEntry};
use crate::iptables::names;
use crate::iptables::ruleset::{Set, SetName};
use crate::model::{Family, Origin, PerFamily, Report};
use crate::node::Device;
use imbl::OrdMap;
use ipnet::{IpNet, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// A set defined in a file, for both families.
#[derive(Debug)]
pub struct Defined {
    /// Its name in the file.
    pub name: String,
    /// The file, and the line of its header; 0 for a set that exists without a definition.
    pub place: (Arc<str>, u32),
    /// Its names in the kernel.
    pub names: PerFamily<SetName>,
    /// Its entries.
    pub sets: PerFamily<Arc<Set>>,
}

impl Defined {
    fn new(vmid: u32, name: &str, set: &IpSet, file: &Arc<str>, extra: Extra) -> Self {
        let names = PerFamily { v4: names::set(vmid, name, Family::V4), v6: names::set(vmid, name, Family::V6) };
        Defined::named(name, names, set, file, extra)
    }

    fn named(name: &str, names: PerFamily<SetName>, set: &IpSet, file: &Arc<str>, extra: Extra) -> Self {
        let IpSet { line, lines, entries } = set;
        let origin = match *line {
            0 => generated(format!("standard set {name} of {file}")),
            line => Origin::Line(file.clone(), line),
        };
        let entries = entries.iter().map(|SetEntry { net, nomatch }| (*net, *nomatch));
        // of equal entries the last one is used, so that a configured entry takes precedence over an implied one
        let entries: Vec<_> = extra.entries.into_iter().chain(entries).collect();
        let of = |family| {
            let mut live = Set::new(family, *lines + extra.count, origin.clone());
            for (net, nomatch) in entries.iter().filter(|(net, _)| Family::of(net.addr()) == family) {
                live.add(*net, *nomatch);
            }
            Arc::new(live)
        };
        let sets = PerFamily { v4: of(Family::V4), v6: of(Family::V6) };
        Defined { name: name.to_string(), place: (file.clone(), *line), names, sets }
    }
}

/// Additional entries of a set, besides the lines of its section.
#[derive(Default)]
struct Extra {
    entries: Vec<(IpNet, bool)>,
    /// Their number, for the size of the set.
    count: usize,
}

/// The sets of cluster.fw, by name.
pub fn of_cluster(cluster: &Cluster) -> Vec<Defined> {
    let sets = cluster.definitions.sets.iter();
    sets.map(|(name, set)| {
        let extra = if name == "management" { management(&cluster.local_network) } else { Extra::default() };
        Defined::new(0, name, set, &cluster.file, extra)
    })
    .collect()
}

/// The sets of SDN, by name. They have the names of the cluster's sets in the kernel, unless cluster.fw defines such a set.
pub fn of_sdn(sdn: &Sdn, cluster: &Cluster) -> Vec<Defined> {
    let sets = sdn.sets.iter();
    sets.map(|(name, SdnSet { file, set })| {
        let taken = cluster.definitions.sets.contains_key(name);
        let in_kernel = |family| match taken {
            true => names::hashed_set(&of_sdn_named(name), family),
            false => names::set(0, name, family),
        };
        let names = PerFamily { v4: in_kernel(Family::V4), v6: in_kernel(Family::V6) };
        Defined::named(&of_sdn_named(name), names, set, file, Extra::default())
    })
    .collect()
}

/// The name of a set of SDN among those of the cluster, as rules write it.
pub fn of_sdn_named(name: &str) -> String {
    format!("sdn/{name}")
}

/// The sets of a guest, by name.
pub fn of_guest(vmid: u32, guest: &Guest, devices: &[Device]) -> Vec<Defined> {
    let mut all: BTreeMap<_, (Option<&IpSet>, Extra)> = BTreeMap::new();
    for device in devices.iter().filter(|device| has_ipfilter(guest, device)) {
        all.insert(ipfilter(device), (None, own_addresses(device)));
    }
    for (name, set) in &guest.definitions.sets {
        all.entry(name.clone()).or_default().0 = Some(set);
    }
    let empty = IpSet::default();
    all.into_iter()
        .map(|(name, (set, extra))| Defined::new(vmid, &name, set.unwrap_or(&empty), &guest.file, extra))
        .collect()
}

/// The sets of all files by their names in the kernel, added one file after the other.
#[derive(Debug, Default)]
pub struct Sets {
    /// The sets.
    pub live: OrdMap<SetName, Arc<Set>>,
    /// The sets dropped because another has the same name in the kernel.
    pub reports: Vec<Report>,
}

impl Sets {
    /// Adds the sets of a file; returns the names of dropped ones.
    pub fn add(&mut self, defined: &[Defined]) -> DroppedSets {
        let dropped = defined.iter().filter(|one| !self.add_one(one));
        dropped.map(|one| one.name.clone()).collect()
    }

    fn add_one(&mut self, Defined { name, place: (file, line), names, sets }: &Defined) -> bool {
        if let Some(taken) = Family::ALL.iter().find(|family| self.live.contains_key(&names[**family])) {
            let text = format!(
                "ipset '{name}' is ignored: its name in the kernel, {}, belongs to another set already; choose another name",
                names[*taken]
            );
            self.reports.push(Report::line(file, *line, text));
            return false;
        }
        for family in Family::ALL {
            self.live.insert(names[family].clone(), sets[family].clone());
        }
        true
    }
}

/// The names of a file's dropped sets.
pub type DroppedSets = BTreeSet<String>;

/// The names in the kernel of a file's sets, without dropped ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetNames(BTreeMap<String, PerFamily<SetName>>);

impl SetNames {
    /// The names of these sets.
    pub fn of(defined: &[Defined], dropped: &DroppedSets) -> Self {
        let there = defined.iter().filter(|one| !dropped.contains(&one.name));
        SetNames(there.map(|one| (one.name.clone(), one.names.clone())).collect())
    }

    /// The name of a set; `None` if it was dropped.
    pub fn get(&self, name: &str, family: Family) -> Option<&SetName> {
        self.0.get(name).map(|names| &names[family])
    }
}

/// The name of a device's ipfilter set.
pub fn ipfilter(device: &Device) -> String {
    ["ipfilter-", &device.netid].concat()
}

/// Whether the source addresses of a device are filtered, because of an ipfilter set or the option.
pub fn has_ipfilter(guest: &Guest, device: &Device) -> bool {
    guest.options.ipfilter || guest.definitions.sets.contains_key(&ipfilter(device))
}

/// The implied entries of a device's filter set: the link-local address of its MAC and no other one, `::` for duplicate
/// address detection (RFC 4862), and a container's configured addresses.
fn own_addresses(device: &Device) -> Extra {
    let link_local = device.mac.as_ref().map(|mac| (IpNet::from(IpAddr::V6(mac.value.link_local())), false));
    let all_link_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    let unspecified = IpNet::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let configured = device.addresses.iter().map(|address| (IpNet::from(*address), false));
    let implied = [(all_link_local.into(), true), (unspecified, false)];
    let entries: Vec<_> = link_local.into_iter().chain(implied).chain(configured).collect();
    Extra { count: entries.len(), entries }
}

fn management(local_network: &Alias) -> Extra {
    Extra { entries: vec![(local_network.value, false)], count: 2 }
}
