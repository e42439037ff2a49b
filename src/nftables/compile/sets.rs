//! IP sets of the configuration as nft sets.
use super::{Node, TablePart};
use crate::config::{Guest, IpSet, SdnSet, SetEntry};
use crate::model::{Family, Origin, PerFamily};
use crate::nftables::names::{Name, SetOwner, set_name};
use crate::nftables::ruleset::{IntervalSet, Set, SetKind};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A set of the cluster or of SDN, by name.
pub type SharedSet = (SetOwner, String);

/// The families in which each set of the cluster and of SDN has addresses.
pub type SetFamilies = BTreeMap<SharedSet, PerFamily<bool>>;

/// The set of the cluster with this name.
pub fn cluster_set(name: &str) -> SharedSet {
    (SetOwner::Cluster, name.to_string())
}

/// The content of each set of a guest.
pub type GuestSets = BTreeMap<String, PerFamily<IntervalSet>>;

/// The families of the sets of cluster and SDN.
pub fn families(node: &Node<'_>) -> SetFamilies {
    let of_cluster = node.cluster.definitions.sets.iter().map(|(name, set)| {
        let has = |family| !content(node, name, set, family).is_empty();
        (cluster_set(name), PerFamily { v4: has(Family::V4), v6: has(Family::V6) })
    });
    let of_sdn = node.sdn.sets.iter().map(|(name, SdnSet { file: _, set })| {
        let has = |family| !IntervalSet::of_entries(family, written(set)).is_empty();
        ((SetOwner::Sdn, name.clone()), PerFamily { v4: has(Family::V4), v6: has(Family::V6) })
    });
    of_cluster.chain(of_sdn).collect()
}

/// A set of the cluster or of SDN in both families.
pub fn shared(node: &Node<'_>, (owner, name): &SharedSet) -> Vec<(Name, Arc<Set>)> {
    match owner {
        SetOwner::Cluster => of_cluster(node, name),
        SetOwner::Sdn => of_sdn(node, name),
        SetOwner::Guest(_) => Vec::new(),
    }
}

fn of_sdn(node: &Node<'_>, name: &str) -> Vec<(Name, Arc<Set>)> {
    let Some(SdnSet { file, set }) = node.sdn.sets.get(name) else { return Vec::new() };
    let origin = Origin::Generated(format!("IP set of {file}").into());
    let one = |family| {
        let content = IntervalSet::of_entries(family, written(set));
        let set = Set { kind: SetKind::Addresses(family, content), origin: origin.clone() };
        Some((set_name(SetOwner::Sdn, name, family)?, Arc::new(set)))
    };
    Family::ALL.into_iter().filter_map(one).collect()
}

/// A set of the cluster, in the families in which it has addresses.
fn of_cluster(node: &Node<'_>, name: &str) -> Vec<(Name, Arc<Set>)> {
    let Some(set) = node.cluster.definitions.sets.get(name) else { return Vec::new() };
    let origin = match set.line {
        0 => Origin::Generated(format!("standard set {name} of {}", node.cluster.file).into()),
        line => Origin::Line(node.cluster.file.clone(), line),
    };
    let one = |family| {
        let content = content(node, name, set, family);
        let set = Set { kind: SetKind::Addresses(family, content), origin: origin.clone() };
        Some((set_name(SetOwner::Cluster, name, family)?, Arc::new(set)))
    };
    Family::ALL.into_iter().filter_map(one).collect()
}

fn content(node: &Node<'_>, name: &str, set: &IpSet, family: Family) -> IntervalSet {
    let implied = if name == "management" { management(node) } else { Vec::new() };
    // configured entries are last, so that they take precedence over implied ones
    let implied = implied.into_iter().map(|net| (net, false));
    IntervalSet::of_entries(family, implied.chain(written(set)))
}

/// The networks that may always manage the node: the alias `local_network` of cluster.fw, or else those of the node's
/// addresses.
pub fn management(node: &Node<'_>) -> Vec<IpNet> {
    match node.cluster.own_local_network {
        false if !node.networks.is_empty() => node.networks.to_vec(),
        _ => vec![node.cluster.local_network.value],
    }
}

/// The entries of a set, each with its `nomatch` flag.
pub fn written(set: &IpSet) -> impl Iterator<Item = (IpNet, bool)> + '_ {
    set.entries.iter().map(|SetEntry { net, nomatch }| (*net, *nomatch))
}

/// The sets of a guest's file.
pub fn of_guest(guest: &Guest) -> GuestSets {
    let both = |set: &IpSet| PerFamily {
        v4: IntervalSet::of_entries(Family::V4, written(set)),
        v6: IntervalSet::of_entries(Family::V6, written(set)),
    };
    guest.definitions.sets.iter().map(|(name, set)| (name.clone(), both(set))).collect()
}

/// Adds a set of a guest to a part. Returns its name.
pub fn add_guest_set(
    vmid: u32,
    name: &str,
    family: Family,
    content: &IntervalSet,
    file: &Arc<str>,
    part: &mut TablePart,
) -> Option<Name> {
    let name = set_name(SetOwner::Guest(vmid), name, family)?;
    let origin = Origin::Generated(format!("IP set of {file}").into());
    let set = Set { kind: SetKind::Addresses(family, content.clone()), origin };
    part.sets.insert(name.clone(), Arc::new(set));
    Some(name)
}
