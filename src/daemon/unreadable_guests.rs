//! Guests with unreadable files: their devices keep their live rules.
use crate::inputs::{File, Tree};
use crate::iptables::plan::Live;
use crate::model::Family;
use crate::paths::TreeFile;
use std::collections::BTreeSet;

/// The devices with live rules of guests with an unreadable file. The kernel is read only if there are any.
#[must_use]
pub fn live_devices(tree: &Tree, live: impl FnOnce() -> Live) -> Vec<String> {
    let doubtful: BTreeSet<&str> = tree
        .files
        .iter()
        .filter(|(_, file)| matches!(file, File::Unreadable(_)))
        .filter_map(|(path, _)| guest_of(path))
        .collect();
    if doubtful.is_empty() {
        return Vec::new();
    }
    let live = live();
    let tables = Family::ALL.into_iter().filter_map(|family| live.filter[family].as_ref().ok());
    let chains = tables.flat_map(|table| table.chains.keys());
    let devices = chains.filter_map(|chain| device_of(chain.as_str()));
    let kept: BTreeSet<&str> =
        devices.filter(|(guest, _)| doubtful.contains(guest)).map(|(_, device)| device).collect();
    kept.into_iter().map(str::to_string).collect()
}

/// The VMID of the guest that a file belongs to.
fn guest_of(path: &str) -> Option<&str> {
    match TreeFile::parse(path)? {
        TreeFile::Guest(id) | TreeFile::GuestConfig { id, .. } => Some(id),
        _ => None,
    }
}

/// The VMID and the device of a chain such as `tap100i0-IN`.
fn device_of(chain: &str) -> Option<(&str, &str)> {
    let device = chain.strip_suffix("-IN").or_else(|| chain.strip_suffix("-OUT"))?;
    let numbers = device.strip_prefix("tap").or_else(|| device.strip_prefix("veth"))?;
    Some((numbers.split_once('i')?.0, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_files_and_device_chains_are_recognised() {
        assert_eq!(guest_of("firewall/100.fw"), Some("100"));
        assert_eq!(guest_of("nodes/n1/lxc/7.conf"), Some("7"));
        assert_eq!(guest_of("firewall/cluster.fw"), None);
        assert_eq!(guest_of("nodes/n1/host.fw"), None);
        assert_eq!(guest_of(".vmlist"), None);
        assert_eq!(device_of("tap100i0-IN"), Some(("100", "tap100i0")));
        assert_eq!(device_of("veth7i12-OUT"), Some(("7", "veth7i12")));
        assert_eq!(device_of("PVEFW-HOST-IN"), None);
    }
}
