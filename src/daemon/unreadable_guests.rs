//! Guests with unreadable files: their devices keep their live rules.
use crate::inputs::{File, Tree};
use crate::iptables::names;
use crate::iptables::plan::Live;
use crate::model::Family;
use crate::model::guest::parse_vmid;
use crate::paths::TreeFile;
use std::collections::BTreeSet;

/// The devices with live rules of guests with an unreadable file. The kernel is read only if there are any.
#[must_use]
pub fn live_devices(tree: &Tree, live: impl FnOnce() -> Live) -> Vec<String> {
    let unreadable = tree.files.iter().filter(|(_, file)| matches!(file, File::Unreadable(_)));
    let guests: BTreeSet<u32> = unreadable.filter_map(|(path, _)| guest_of(path)).collect();
    if guests.is_empty() {
        return Vec::new();
    }
    let live = live();
    let tables = Family::ALL.into_iter().filter_map(|family| live.filter[family].as_ref().ok());
    let devices = tables.flat_map(|table| table.chains.keys()).filter_map(|chain| names::device_of(chain.as_str()));
    let kept: BTreeSet<String> =
        devices.filter(|device| guests.contains(&device.vmid)).map(|device| device.to_string()).collect();
    kept.into_iter().collect()
}

/// The VMID of the guest that a file belongs to.
fn guest_of(path: &str) -> Option<u32> {
    match TreeFile::parse(path)? {
        TreeFile::Guest(id) | TreeFile::GuestConfig { id, .. } => parse_vmid(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_files_are_recognised() {
        assert_eq!(guest_of("firewall/100.fw"), Some(100));
        assert_eq!(guest_of("nodes/n1/lxc/7.conf"), Some(7));
        assert_eq!(guest_of("firewall/cluster.fw"), None);
        assert_eq!(guest_of("nodes/n1/host.fw"), None);
        assert_eq!(guest_of(".vmlist"), None);
    }
}
