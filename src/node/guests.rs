//! The node's guests, from `.vmlist` or from the guests' `.conf` files.
use crate::inputs::Tree;
use crate::model::Report;
use crate::model::guest::{GuestDevice, GuestKind, parse_vmid};
use crate::paths::{TreeFile, VMLIST};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A guest of the node, in the order of rules: VMs before containers, then by VMID as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The kind.
    pub kind: GuestKind,
    vmid_text: String,
    /// The VMID.
    pub vmid: u32,
}

impl Listed {
    pub(super) fn new(kind: GuestKind, vmid: u32) -> Self {
        Listed { kind, vmid_text: vmid.to_string(), vmid }
    }

    /// The guest's configuration file, relative to the tree.
    #[must_use]
    pub fn conf(&self, node: &str) -> String {
        TreeFile::GuestConfig { node, kind: self.kind, id: &self.vmid_text }.path()
    }

    /// Whether a device on the host belongs to the guest.
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
pub struct Listing {
    /// The guests, in the order of rules.
    pub guests: Vec<Listed>,
    /// The invalid entries: the text of the VMID, and the error.
    faults: Vec<(String, &'static str)>,
}

impl Listing {
    /// The guests in `.vmlist`, or without it those with files, given as paths relative to the tree.
    #[must_use]
    pub fn of<'a>(vmlist: Option<&[u8]>, node: &str, paths: impl Iterator<Item = &'a str>) -> Self {
        let mut listing = Listing::default();
        match vmlist {
            Some(vmlist) => {
                let mut add = |id: &str, of: Option<&str>, kind: Option<&str>| match own(node, id, of, kind) {
                    Some(Ok(guest)) => listing.guests.push(guest),
                    Some(Err(fault)) => listing.faults.push((id.to_string(), fault)),
                    None => {}
                };
                entries(vmlist, &mut add);
            }
            None => listing.guests.extend(paths.filter_map(|path| by_path(path, node))),
        }
        listing.guests.sort_unstable();
        let mut seen = BTreeSet::new();
        listing.guests.retain(|guest| seen.insert(guest.vmid));
        listing
    }

    /// Reports about invalid entries.
    pub fn reports(&self, tree: &Tree) -> impl Iterator<Item = Report> {
        let file = tree.label(VMLIST);
        let text = |(id, fault): &(String, _)| format!("guest '{}' is ignored: {fault}", id.escape_debug());
        self.faults.iter().map(move |fault| Report::file(&file, text(fault)))
    }
}

/// The guests of a node: in `.vmlist`, or without it those with files, given as paths relative to the tree.
#[must_use]
pub fn listed<'a>(vmlist: Option<&[u8]>, node: &str, paths: impl Iterator<Item = &'a str>) -> Vec<Listed> {
    Listing::of(vmlist, node, paths).guests
}

/// Checks that `.vmlist` is a complete list of the cluster's guests. pmxcfs always writes `version`, and omits `ids` if the
/// cluster has no guests.
///
/// # Errors
/// The error text, to be appended to the file name.
pub fn check_vmlist(vmlist: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Summary>(vmlist) {
        Ok(Summary { version: None, ids: None }) => {
            Err("does not list guests: it has neither 'version' nor 'ids'".into())
        }
        Ok(_) => Ok(()),
        Err(error) if error.is_data() => Err(format!("does not list guests: {error}")),
        Err(_) => Err("is not complete JSON".into()),
    }
}

/// The fields that show that a `.vmlist` is complete. `ids` may be missing, but not null.
#[derive(Deserialize)]
struct Summary {
    version: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    ids: Option<BTreeMap<String, IgnoredAny>>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A `.vmlist` without invalid entries.
#[derive(Deserialize)]
struct VmList<'a> {
    #[serde(borrow)]
    ids: BTreeMap<Cow<'a, str>, Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// The entries of `.vmlist`: the text of the VMID, and the node and type if they are strings.
fn entries(vmlist: &[u8], add: &mut impl FnMut(&str, Option<&str>, Option<&str>)) {
    if let Ok(list) = serde_json::from_slice::<VmList<'_>>(vmlist) {
        list.ids.iter().for_each(|(id, entry)| add(id, Some(&entry.node), Some(&entry.r#type)));
        return;
    }
    let vmlist: Value = serde_json::from_slice(vmlist).unwrap_or_default();
    for (id, entry) in vmlist.get("ids").and_then(Value::as_object).into_iter().flatten() {
        add(id, entry.get("node").and_then(Value::as_str), entry.get("type").and_then(Value::as_str));
    }
}

/// The guest of an entry, or the error; `None` if it belongs to another node.
fn own(node: &str, id: &str, of: Option<&str>, kind: Option<&str>) -> Option<Result<Listed, &'static str>> {
    let guest = |of: Option<&str>| {
        of.ok_or("it has no node")?;
        let kind = match kind {
            Some("qemu") => GuestKind::Vm,
            Some("lxc") => GuestKind::Container,
            _ => return Err("its type is neither qemu nor lxc"),
        };
        parse_vmid(id).map(|vmid| Listed::new(kind, vmid)).ok_or("a VMID is a number of up to nine digits")
    };
    of.is_none_or(|of| of == node).then(|| guest(of))
}

fn by_path(path: &str, own_node: &str) -> Option<Listed> {
    match TreeFile::parse(path)? {
        TreeFile::GuestConfig { node, kind, id } if node == own_node => Some(Listed::new(kind, parse_vmid(id)?)),
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
        let vmids = |guests: Vec<Listed>| guests.iter().map(|guest| guest.vmid).collect::<Vec<_>>();
        assert_eq!(vmids(listed(Some(list), "n1", [].into_iter())), [100, 1000, 101]);
        let paths = [
            "nodes/n1/lxc/9.conf",
            "nodes/n1/qemu-server/20.conf",
            "nodes/n1/qemu-server/x.conf",
            "nodes/n10/lxc/1.conf",
        ];
        assert_eq!(vmids(listed(None, "n1", paths.into_iter())), [20, 9]);
        assert_eq!(vmids(listed(Some(b"{"), "n1", paths.into_iter())), [0; 0]);
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
    fn invalid_entries_are_reported() {
        let list = br#"{"ids":{"100":{"node":"n1","type":"qemu"},"x":{"node":"n1","type":"qemu"},"7":{"type":"lxc"},
            "8":{"node":"n1","type":"jail"},"y":{"node":"n2"}}}"#;
        let faults: Vec<_> =
            Listing::of(Some(list), "n1", [].into_iter()).faults.into_iter().map(|(id, _)| id).collect();
        assert_eq!(faults, ["7", "8", "x"]);
    }
}
