//! The owner of an address: the node, or a device of a guest.
use crate::cli::load::View;
use crate::config::{GuestFiles, IpSet};
use crate::node::{self, Link, ListedGuest};
use crate::simulate::{End, GuestPort};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// The owner of an address: the node, or the guest to which it is assigned in its configuration or in the IPAM, or whose MAC
/// address is part of the IPv6 address, or whose device has the most specific IP filter entry for it.
pub(super) fn owner(view: &View, guests: &[ListedGuest], address: IpAddr) -> Option<End> {
    let View { tree, facts, compiled } = view;
    if compiled.localnet.address == Some(address) || address.is_loopback() {
        return Some(End::Host);
    }
    let links = guests.iter().filter_map(|guest| Some(node::links(tree.content(&guest.conf(&facts.node))?, guest)));
    // a device without a bridge is not connected to the node's networks
    let links: Vec<Link> = links.flatten().filter(|link| link.bridge.is_some()).collect();
    let of = |has: &dyn Fn(&Link) -> bool| links.iter().find(|link| has(link));
    let configured = || of(&|link| link.addresses.contains(&address));
    let by_mac = || of(&|link| link.mac.is_some_and(|mac| has_same_interface_id(address, mac.link_local())));
    let found = configured().or_else(|| leased(view, &links, address)).or_else(by_mac);
    let Some(link) = found.or_else(|| filtered(view, &links, address)) else {
        return facts.addresses.iter().any(|own| own.net.addr() == address).then_some(End::Host);
    };
    let Link { device, bridge, firewalled, mac: _, addresses: _ } = link.clone();
    Some(End::Guest(GuestPort { device, bridge: bridge?, firewalled }))
}

/// Whether an address has the same interface identifier as a link-local address (RFC 4291, appendix A).
fn has_same_interface_id(address: IpAddr, link_local: Ipv6Addr) -> bool {
    matches!(address, IpAddr::V6(address) if address.octets()[8..] == link_local.octets()[8..])
}

/// The device of the guest to which the IPAM assigns the address: the device on the vnet of the subnet, or else the first
/// device.
fn leased<'a>(view: &View, links: &'a [Link], address: IpAddr) -> Option<&'a Link> {
    let sets = &view.compiled.configuration.sdn.sets;
    let has = |name: &str| sets.get(name).is_some_and(|found| contains(&found.set, address));
    let of_guest = || links.iter().filter(|link| has(&format!("guest-ipam-{}", link.device.vmid)));
    let on_vnet =
        |link: &&Link| link.bridge.as_ref().is_some_and(|vnet| has(&format!("{vnet}-all").to_ascii_lowercase()));
    of_guest().find(on_vnet).or_else(|| of_guest().next())
}

fn contains(set: &IpSet, address: IpAddr) -> bool {
    set.networks().any(|net| net.contains(&address))
}

/// The device whose IP filter has the most specific entry with the address.
fn filtered<'a>(view: &View, links: &'a [Link], address: IpAddr) -> Option<&'a Link> {
    let filters = view.compiled.configuration.guests.iter().filter_map(|guest| match &guest.files {
        GuestFiles::Read { firewall, devices: _ } => Some((guest.listed.vmid, &firewall.definitions.sets)),
        GuestFiles::Unreadable { live: _ } => None,
    });
    let filters: BTreeMap<u32, &BTreeMap<String, IpSet>> = filters.collect();
    let length = |link: &&Link| {
        let entries = &filters.get(&link.device.vmid)?.get(&format!("ipfilter-net{}", link.device.index))?.entries;
        let nets = entries.iter().filter(|entry| entry.net.contains(&address));
        let narrowest = nets.max_by_key(|entry| entry.net.prefix_len())?;
        (!narrowest.nomatch).then(|| narrowest.net.prefix_len())
    };
    links.iter().filter(|link| length(link).is_some()).max_by_key(length)
}
