//! The node's guests, from `.vmlist` or from the guests' `.conf` files.
use crate::inputs::Tree;
use crate::model::Report;
use crate::model::guest::{GuestDevice, GuestKind, parse_vmid};
use crate::paths::{TreeFile, VMLIST};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

/// A guest of the node, in the order of rules: VMs before containers, then by VMID as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedGuest {
    /// The kind.
    pub kind: GuestKind,
    vmid_text: String,
    /// The VMID.
    pub vmid: u32,
}

impl ListedGuest {
    pub(super) fn new(kind: GuestKind, vmid: u32) -> Self {
        ListedGuest { kind, vmid_text: vmid.to_string(), vmid }
    }

    /// The guest's configuration file, relative to the tree.
    #[must_use]
    pub fn conf(&self, node: &str) -> String {
        TreeFile::GuestConfig { node, kind: self.kind, id: &self.vmid_text }.path()
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            GuestKind::Vm => "VM",
            GuestKind::Container => "container",
        }
    }

    /// Whether a device on the host is the guest's.
    #[must_use]
    pub fn owns(&self, device: &str) -> bool {
        GuestDevice::parse(device).is_some_and(|device| (device.kind, device.vmid) == (self.kind, self.vmid))
    }

    /// The guest's firewall file, relative to the tree.
    #[must_use]
    pub fn fw(&self) -> String {
        TreeFile::Guest(&self.vmid_text).path()
    }
}

/// The guests of a node, and the invalid entries of `.vmlist`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestList {
    /// The guests, in the order of rules.
    pub guests: Vec<ListedGuest>,
    /// The invalid entries: the VMID as it is written, and what is wrong.
    invalid: Vec<(String, String)>,
}

impl GuestList {
    /// The guests in `.vmlist`, or without one those with a configuration file; `paths` are relative to the tree. A guest whose
    /// entry is invalid, or that is listed on another node, belongs to this node if its configuration file is here: in the
    /// latter case it is being migrated to this node.
    #[must_use]
    pub fn of<'a>(vmlist: Option<&[u8]>, node: &str, paths: impl Iterator<Item = &'a str>) -> Self {
        let mut listing = GuestList::default();
        let own_files: HashMap<&str, GuestKind> = paths.filter_map(|path| own_file(path, node)).collect();
        let by_file = |id: &str| Some(ListedGuest::new(*own_files.get(id)?, parse_vmid(id)?));
        let Some(vmlist) = vmlist else {
            listing.guests.extend(own_files.keys().filter_map(|id| by_file(id)));
            return listing.sorted();
        };
        let mut seen = HashSet::new();
        let mut add = |id: &str, of: Option<&str>, kind: Option<&str>| {
            let twice = parse_vmid(id).is_some_and(|vmid| !seen.insert(vmid));
            match own(node, id, of, kind) {
                Some(Ok(guest)) => listing.guests.push(guest),
                Some(Err(reason)) => listing.add_invalid(id, reason, by_file(id)),
                None => listing.guests.extend(by_file(id)),
            }
            if twice {
                listing.invalid.push((id.to_string(), "is listed twice".into()));
            }
        };
        entries(vmlist, &mut add);
        listing.sorted()
    }

    fn add_invalid(&mut self, id: &str, reason: &str, guest: Option<ListedGuest>) {
        let text = match &guest {
            Some(guest) => format!("is treated as a {} according to its file: {reason}", guest.kind_name()),
            None => format!("is ignored: {reason}"),
        };
        self.guests.extend(guest);
        self.invalid.push((id.to_string(), text));
    }

    /// Each guest once, in the order of rules.
    fn sorted(mut self) -> Self {
        self.guests.sort_unstable();
        let mut seen = BTreeSet::new();
        self.guests.retain(|guest| seen.insert(guest.vmid));
        self
    }

    /// Reports about the invalid entries.
    pub fn reports(&self, tree: &Tree) -> impl Iterator<Item = Report> {
        let file = tree.label(VMLIST);
        let text = |(id, text): &(String, String)| format!("guest '{}' {text}", id.escape_debug());
        self.invalid.iter().map(move |entry| Report::file(&file, text(entry)))
    }
}

/// The configuration files, still on another node, of guests with a device on this node: they are being migrated to it. Each
/// with its future path on this node and its current path.
#[must_use]
pub fn conf_files_elsewhere(vmlist: &[u8], node: &str, devices: &BTreeSet<GuestDevice>) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    let here: BTreeSet<(GuestKind, u32)> = devices.iter().map(|device| (device.kind, device.vmid)).collect();
    let mut add = |id: &str, of: Option<&str>, kind: Option<&str>| {
        let Some(of) = of.filter(|of| *of != node && !of.contains('/')) else { return };
        if let Some(Ok(guest)) = own(of, id, Some(of), kind)
            && here.contains(&(guest.kind, guest.vmid))
        {
            paths.push((guest.conf(node), guest.conf(of)));
        }
    };
    entries(vmlist, &mut add);
    paths
}

/// Whether all guests of one `.vmlist` are also in another, on any node.
#[must_use]
pub fn lists_all(vmlist: &[u8], others: &[u8]) -> bool {
    let ids = |vmlist| {
        let mut ids = BTreeSet::new();
        entries(vmlist, &mut |id, _, kind| {
            ids.insert((id.to_string(), kind.map(str::to_string)));
        });
        ids
    };
    ids(vmlist).is_superset(&ids(others))
}

/// The guests of a node: those in `.vmlist`, or without one those with a configuration file; `paths` are relative to the
/// tree.
#[must_use]
pub fn listed<'a>(vmlist: Option<&[u8]>, node: &str, paths: impl Iterator<Item = &'a str>) -> Vec<ListedGuest> {
    GuestList::of(vmlist, node, paths).guests
}

/// Checks that `.vmlist` is a complete list of the cluster's guests. pmxcfs always writes `version`, and omits `ids` if the
/// cluster has no guests.
///
/// # Errors
/// The error text, to be appended to the file name.
pub fn check_vmlist(vmlist: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<VmlistSummary>(vmlist) {
        Ok(VmlistSummary { version: None, ids: None }) => {
            Err("does not list guests: it has neither 'version' nor 'ids'".into())
        }
        Ok(_) => Ok(()),
        Err(error) if error.is_data() => Err(format!("does not list guests: {error}")),
        Err(_) => Err("is not complete JSON".into()),
    }
}

/// The fields that show that a `.vmlist` is complete. `ids` may be missing, but not null.
#[derive(Deserialize)]
struct VmlistSummary {
    version: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    ids: Option<BTreeMap<String, IgnoredAny>>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A `.vmlist` with entries of type `E`, which accepts any JSON if entries may be invalid.
#[derive(Deserialize)]
struct VmList<'a, E> {
    #[serde(borrow, default = "Pairs::none", bound(deserialize = "E: Deserialize<'de>"))]
    ids: Pairs<'a, E>,
}

/// The entries of a JSON object in order, including duplicate keys.
struct Pairs<'a, E>(Vec<(Cow<'a, str>, E)>);

impl<E> Pairs<'_, E> {
    fn none() -> Self {
        Pairs(Vec::new())
    }
}

impl<'de: 'a, 'a, E: Deserialize<'de>> Deserialize<'de> for Pairs<'a, E> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect<'a, E>(PhantomData<(&'a (), E)>);

        impl<'de: 'a, 'a, E: Deserialize<'de>> Visitor<'de> for Collect<'a, E> {
            type Value = Pairs<'a, E>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        from.deserialize_map(Collect(PhantomData))
    }
}

#[derive(Deserialize)]
struct VmlistEntry<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// The VMIDs of all guests of the cluster.
#[must_use]
pub fn vmids(vmlist: &[u8]) -> BTreeSet<u32> {
    let mut vmids = BTreeSet::new();
    entries(vmlist, &mut |id, _, _| vmids.extend(parse_vmid(id)));
    vmids
}

/// The entries of `.vmlist`: the text of the VMID, and the node and type if they are strings.
fn entries(vmlist: &[u8], add: &mut impl FnMut(&str, Option<&str>, Option<&str>)) {
    if let Ok(list) = serde_json::from_slice::<VmList<'_, VmlistEntry<'_>>>(vmlist) {
        list.ids.0.iter().for_each(|(id, entry)| add(id, Some(&entry.node), Some(&entry.r#type)));
    } else if let Ok(list) = serde_json::from_slice::<VmList<'_, Value>>(vmlist) {
        for (id, entry) in list.ids.0 {
            add(&id, entry.get("node").and_then(Value::as_str), entry.get("type").and_then(Value::as_str));
        }
    }
}

/// The guest of an entry, or the error; `None` if it belongs to another node.
fn own(node: &str, id: &str, of: Option<&str>, kind: Option<&str>) -> Option<Result<ListedGuest, &'static str>> {
    let guest = |of: Option<&str>| {
        of.ok_or("it has no node")?;
        let kind = match kind {
            Some("qemu") => GuestKind::Vm,
            Some("lxc") => GuestKind::Container,
            _ => return Err("its type is neither qemu nor lxc"),
        };
        parse_vmid(id).map(|vmid| ListedGuest::new(kind, vmid)).ok_or("a VMID is a number of up to nine digits")
    };
    of.is_none_or(|of| of == node).then(|| guest(of))
}

/// The VMID and kind of the guest that a path is the configuration file of, if the file is this node's.
fn own_file<'a>(path: &'a str, own_node: &str) -> Option<(&'a str, GuestKind)> {
    match TreeFile::parse(path)? {
        TreeFile::GuestConfig { node, kind, id } if node == own_node => Some((id, kind)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_read_from_the_list_or_the_files() {
        let list = br#"{"ids":{"101":{"node":"n1","type":"lxc"},"1000":{"node":"n1","type":"qemu"},
            "100":{"node":"n1","type":"qemu"},"102":{"node":"n2","type":"qemu"},"0x":{"node":"n1","type":"qemu"}}}"#;
        let vmids = |guests: Vec<ListedGuest>| guests.iter().map(|guest| guest.vmid).collect::<Vec<_>>();
        assert_eq!(vmids(listed(Some(list), "n1", [].into_iter())), [100, 1000, 101]);
        let paths = [
            "nodes/n1/lxc/9.conf",
            "nodes/n1/qemu-server/20.conf",
            "nodes/n1/qemu-server/x.conf",
            "nodes/n10/lxc/1.conf",
        ];
        assert_eq!(vmids(listed(None, "n1", paths.into_iter())), [20, 9]);
        assert_eq!(vmids(listed(Some(b"{"), "n1", paths[..3].iter().copied())), [0; 0]);
        let twice = ["nodes/n1/lxc/100.conf", "nodes/n1/qemu-server/100.conf", "nodes/n1/qemu-server/101.conf"];
        assert_eq!(vmids(listed(None, "n1", twice.into_iter())), [100, 101], "one number is one guest");
    }

    #[test]
    fn a_list_without_guests_is_complete_and_a_truncated_list_is_not() {
        for complete in [r#"{"version":7}"#, r#"{"version":7,"ids":{}}"#, r#"{"ids":{}}"#, "{\n\"version\": 1\n}\n"] {
            assert_eq!(check_vmlist(complete.as_bytes()), Ok(()), "{complete}");
        }
        let half = r#"{"version":7,"ids":{"100":{"node":"n1","type":"qemu","version":5}}}"#;
        for end in 0..half.len() {
            assert!(check_vmlist(&half.as_bytes()[..end]).is_err(), "{}", &half[..end]);
        }
        for wrong in ["{}", "null", "[]", "7", r#"{"ids":null}"#, r#"{"version":1,"ids":null}"#, r#"{"version":"x"}"#] {
            assert!(check_vmlist(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invalid_entries_are_reported_and_files_decide() {
        let list = br#"{"ids":{"100":{"node":"n1","type":"qemu"},"x":{"node":"n1","type":"qemu"},"7":{"type":"lxc"},
            "8":{"node":"n1","type":"jail"},"9":5,"y":{"node":"n2"},"100":{"node":"n2","type":"qemu"}}}"#;
        let paths = ["nodes/n1/lxc/8.conf", "nodes/n1/qemu-server/9.conf"];
        let listing = GuestList::of(Some(list), "n1", paths.into_iter());
        let texts: Vec<_> = listing.invalid.iter().map(|(id, text)| format!("{id} {text}")).collect();
        assert_eq!(
            texts,
            [
                "x is ignored: a VMID is a number of up to nine digits",
                "7 is ignored: it has no node",
                "8 is treated as a container according to its file: its type is neither qemu nor lxc",
                "9 is treated as a VM according to its file: it has no node",
                "100 is listed twice",
            ]
        );
        let guests: Vec<_> = listing.guests.iter().map(|guest| guest.conf("n1")).collect();
        let confs = ["qemu-server/100", "qemu-server/9", "lxc/8"].map(|name| format!("nodes/n1/{name}.conf"));
        assert_eq!(guests, confs);
    }

    #[test]
    fn a_guest_whose_device_is_here_is_arriving() {
        let list = br#"{"ids":{"100":{"node":"n2","type":"qemu"},"101":{"node":"n1","type":"qemu"},
            "102":{"node":"n3","type":"lxc"},"103":{"node":"../n1","type":"qemu"}}}"#;
        let devices = ["tap100i0", "tap101i0", "veth100i0", "tap102i0", "tap103i0", "tap99i0"];
        let devices = devices.into_iter().filter_map(GuestDevice::parse).collect();
        let confs = conf_files_elsewhere(list, "n1", &devices);
        let (here, away) = ("nodes/n1/qemu-server/100.conf", "nodes/n2/qemu-server/100.conf");
        assert_eq!(confs, [(here.to_string(), away.to_string())]);
        let paths = ["nodes/n1/qemu-server/101.conf", here, "nodes/n3/lxc/102.conf"];
        let confs: Vec<_> = listed(Some(list), "n1", paths.into_iter()).iter().map(|guest| guest.conf("n1")).collect();
        assert_eq!(confs, [here, paths[0]]);
        let moved = String::from_utf8_lossy(list).replace("n2", "n1");
        assert!(lists_all(moved.as_bytes(), list));
        assert!(!lists_all(br#"{"version":2}"#, list));
    }
}
