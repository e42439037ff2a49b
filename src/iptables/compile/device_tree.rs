//! The chains between PVEFW-FWBR-IN or -OUT and the chains of devices: a list of few devices, a tree of many.
//!
//! With a list, each new connection is compared with every device. In the tree, a chain belongs to the devices whose names
//! begin with its prefix, and has a rule for each possible next character (`--physdev-out tap10+`): at most eleven. There is a
//! chain for each prefix after which the names of devices differ, so adding a device changes only the chains on its own path.
use crate::iptables::names::{self, MAX_PREFIX_LENGTH};
use crate::iptables::ruleset::ChainName;
use crate::model::Interface;

/// Maximum number of devices in a single list, as in the Perl firewall.
const MAX_LIST: usize = 32;

/// A chain of the tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Branch<'a> {
    /// The common prefix of its devices' names; empty for the chain of all devices.
    pub prefix: &'a str,
    /// Its rules, in order.
    pub jumps: Vec<Jump<'a>>,
}

/// A rule of such a chain.
#[derive(Debug, PartialEq, Eq)]
pub enum Jump<'a> {
    /// To the chain of a device.
    Device(&'a Interface),
    /// To the branch of the devices with this prefix.
    Branch(&'a str),
}

impl Jump<'_> {
    /// The ports whose packets it concerns.
    pub fn port(&self) -> Interface {
        match self {
            Jump::Device(device) => (*device).clone(),
            Jump::Branch(prefix) => names::devices_with(prefix),
        }
    }

    /// The chain for packets to these ports.
    pub fn chain_in(&self) -> ChainName {
        match self {
            Jump::Device(device) => names::device_in(device),
            Jump::Branch(prefix) => names::branch_in(prefix),
        }
    }

    /// The chain for packets, or frames, from these ports.
    pub fn chain_out(&self) -> ChainName {
        match self {
            Jump::Device(device) => names::device_out(device),
            Jump::Branch(prefix) => names::branch_out(prefix),
        }
    }
}

/// The branches for these devices; the one of all devices is first.
pub fn branches(devices: &[Interface]) -> Vec<Branch<'_>> {
    let mut devices: Vec<&Interface> = devices.iter().collect();
    if devices.len() <= MAX_LIST {
        return vec![Branch { prefix: "", jumps: devices.into_iter().map(Jump::Device).collect() }];
    }
    devices.sort_unstable();
    let mut found = Vec::new();
    branch("", &devices, &mut found);
    found
}

/// Adds the branch of these devices, sorted by name, and those below it.
fn branch<'a>(prefix: &'a str, devices: &[&'a Interface], found: &mut Vec<Branch<'a>>) {
    let at = found.len();
    found.push(Branch { prefix, jumps: Vec::new() });
    let next = |device: &Interface| device.as_str().as_bytes().get(prefix.len()).copied();
    let list = prefix.len() >= MAX_PREFIX_LENGTH;
    let groups = devices.chunk_by(|one, other| !list && next(one) == next(other));
    let jump = |group: &[&'a Interface]| match group {
        [device] => Jump::Device(device),
        _ => {
            let below = common_prefix(group);
            branch(below, group, found);
            Jump::Branch(below)
        }
    };
    found[at].jumps = groups.map(jump).collect();
}

/// The common prefix of these names, which are sorted, truncated so that the name of a chain can contain it.
fn common_prefix<'a>(devices: &[&'a Interface]) -> &'a str {
    let (Some(first), Some(last)) = (devices.first(), devices.last()) else { return "" };
    let same = first.as_str().bytes().zip(last.as_str().bytes()).take_while(|(one, other)| one == other).count();
    &first.as_str()[..same.min(MAX_PREFIX_LENGTH)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn devices(names: impl IntoIterator<Item = String>) -> Vec<Interface> {
        names.into_iter().map(|name| Interface::new(&name).unwrap()).collect()
    }

    /// The devices whose chains a packet of this port reaches, and the largest number of rules evaluated in one chain.
    fn reached(branches: &[Branch<'_>], port: &str) -> (Vec<String>, usize) {
        let (mut open, mut reached, mut longest) = (vec![""], Vec::new(), 0);
        while let Some(prefix) = open.pop() {
            let branch = branches.iter().find(|branch| branch.prefix == prefix).unwrap();
            longest = longest.max(branch.jumps.len());
            for jump in &branch.jumps {
                match jump {
                    Jump::Device(device) => reached.extend(device.covers(port).then(|| device.to_string())),
                    Jump::Branch(below) => open.extend(port.starts_with(below).then_some(*below)),
                }
            }
        }
        (reached, longest)
    }

    #[test]
    fn few_devices_are_a_list() {
        let devices = devices((0..32).map(|index| format!("tap100i{index}")));
        let jumps = devices.iter().map(Jump::Device).collect();
        assert_eq!(branches(&devices), [Branch { prefix: "", jumps }]);
    }

    #[test]
    fn every_chain_of_a_tree_is_short() {
        for count in [33, 100, 1000, 4000] {
            let devices = devices((0..count).map(|vmid| format!("tap{}i0", 100 + vmid)));
            let branches = branches(&devices);
            for device in &devices {
                let (reached, longest) = reached(&branches, device.as_str());
                assert_eq!(reached, [device.to_string()]);
                assert!(longest <= 11, "{count}: {longest}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_device_reaches_its_own_chain_and_changes_no_other_path(
            names in proptest::collection::btree_set("(tap|veth)[1-3]{1,3}[0-9]{0,6}i[0-2]?[0-9]", 34..120),
            other in any::<prop::sample::Index>(),
        ) {
            let names: BTreeSet<String> = names.into_iter().filter(|name| name.len() <= 15).collect();
            prop_assume!(names.len() > MAX_LIST + 1);
            let all = devices(names.iter().cloned());
            let tree = branches(&all);
            for device in &all {
                prop_assert_eq!(reached(&tree, device.as_str()).0, [device.to_string()]);
            }
            prop_assert!(tree.iter().all(|branch| branch.prefix.len() <= MAX_PREFIX_LENGTH));
            let gone = other.get(&all.iter().collect::<Vec<_>>()).to_string();
            let without = devices(names.iter().filter(|name| **name != gone).cloned());
            let smaller = branches(&without);
            for branch in tree.iter().filter(|branch| !gone.starts_with(branch.prefix)) {
                prop_assert!(smaller.contains(branch), "{} changes without {gone}", branch.prefix);
            }
        }
    }
}
