//! The chains between PVEFW-FWBR-IN or -OUT and the chains of devices: a list of few devices, a tree of many.
//!
//! With a list, each new connection is compared with every device. In the tree, a chain is of the devices whose names begin
//! with its prefix, and has a rule for each character that may come next (`--physdev-out tap10+`): eleven at most. There is
//! a chain for each prefix after which the names of devices differ, so a device changes only the chains on its own path.
use crate::iptables::names::LONGEST_PREFIX;
use crate::model::Interface;
use std::collections::BTreeMap;

/// The most devices that are a single list, as the Perl firewall has it.
const LIST: usize = 32;

/// A chain of the tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Branch<'a> {
    /// What the names of its devices begin with; empty for the chain of all devices.
    pub prefix: String,
    /// Its rules, in order.
    pub jumps: Vec<Jump<'a>>,
}

/// A rule of such a chain.
#[derive(Debug, PartialEq, Eq)]
pub enum Jump<'a> {
    /// To the chain of a device.
    Device(&'a Interface),
    /// To the branch of the devices whose names begin so.
    Branch(String),
}

/// The branches for these devices, that of all devices first.
pub fn branches(devices: &[Interface]) -> Vec<Branch<'_>> {
    let devices: Vec<&Interface> = devices.iter().collect();
    let mut found = Vec::new();
    if devices.len() <= LIST {
        found.push(Branch { prefix: String::new(), jumps: devices.into_iter().map(Jump::Device).collect() });
    } else {
        branch("", devices, &mut found);
    }
    found
}

fn branch<'a>(prefix: &str, devices: Vec<&'a Interface>, found: &mut Vec<Branch<'a>>) {
    let at = found.len();
    found.push(Branch { prefix: prefix.to_string(), jumps: Vec::new() });
    let jumps = if prefix.len() >= LONGEST_PREFIX {
        devices.into_iter().map(Jump::Device).collect()
    } else {
        let mut groups: BTreeMap<Option<u8>, Vec<&Interface>> = BTreeMap::new();
        for device in devices {
            groups.entry(device.as_str().as_bytes().get(prefix.len()).copied()).or_default().push(device);
        }
        let jump = |group: Vec<&'a Interface>| match group[..] {
            [device] => Jump::Device(device),
            _ => {
                let below = common_prefix(&group);
                branch(&below, group, found);
                Jump::Branch(below)
            }
        };
        groups.into_values().map(jump).collect()
    };
    found[at].jumps = jumps;
}

/// What all of these names begin with, as far as the name of a chain has room for it.
fn common_prefix(devices: &[&Interface]) -> String {
    let mut common = devices.first().map_or("", |device| device.as_str());
    for device in devices {
        let same = common.bytes().zip(device.as_str().bytes()).take_while(|(one, other)| one == other).count();
        common = &common[..same];
    }
    common[..common.len().min(LONGEST_PREFIX)].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn devices(names: impl IntoIterator<Item = String>) -> Vec<Interface> {
        names.into_iter().map(|name| Interface::new(&name).unwrap()).collect()
    }

    /// The devices whose chains a packet of this port comes to, and the most rules that it meets in one chain.
    fn reached(branches: &[Branch<'_>], port: &str) -> (Vec<String>, usize) {
        let (mut open, mut reached, mut longest) = (vec![String::new()], Vec::new(), 0);
        while let Some(prefix) = open.pop() {
            let branch = branches.iter().find(|branch| branch.prefix == prefix).unwrap();
            longest = longest.max(branch.jumps.len());
            for jump in &branch.jumps {
                match jump {
                    Jump::Device(device) => reached.extend(device.covers(port).then(|| device.to_string())),
                    Jump::Branch(below) => open.extend(port.starts_with(below.as_str()).then(|| below.clone())),
                }
            }
        }
        (reached, longest)
    }

    #[test]
    fn few_devices_are_a_list() {
        let devices = devices((0..32).map(|index| format!("tap100i{index}")));
        let jumps = devices.iter().map(Jump::Device).collect();
        assert_eq!(branches(&devices), [Branch { prefix: String::new(), jumps }]);
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
            prop_assume!(names.len() > LIST + 1);
            let all = devices(names.iter().cloned());
            let tree = branches(&all);
            for device in &all {
                prop_assert_eq!(reached(&tree, device.as_str()).0, [device.to_string()]);
            }
            prop_assert!(tree.iter().all(|branch| branch.prefix.len() <= LONGEST_PREFIX));
            let gone = other.get(&all.iter().collect::<Vec<_>>()).to_string();
            let without = devices(names.iter().filter(|name| **name != gone).cloned());
            let smaller = branches(&without);
            for branch in tree.iter().filter(|branch| !gone.starts_with(&branch.prefix)) {
                prop_assert!(smaller.contains(branch), "{} changes without {gone}", branch.prefix);
            }
        }
    }
}
