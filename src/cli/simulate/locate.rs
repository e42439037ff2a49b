//! Where a packet enters and leaves, by the configuration.
use crate::cli::endpoint::{Endpoint, Kind};
use crate::cli::load::View;
use crate::config::{Configuration, GuestFiles, IpSet};
use crate::model::guest::GuestKind;
use crate::node::{self, Link, Listed};
use crate::paths::VMLIST;
use crate::simulate::{End, GuestPort};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The bridge whose uplink is used for outside if the other endpoint is not on a bridge.
const BRIDGE: &str = "vmbr0";

/// An endpoint, resolved with the configuration.
pub(super) struct Located {
    pub end: End,
    /// The known addresses of the endpoint.
    pub addresses: Vec<IpAddr>,
}

/// An endpoint, as far as it is known without the other one: outside is on the other's bridge.
struct Partial {
    end: Option<End>,
    addresses: Vec<IpAddr>,
}

/// Resolves both endpoints. Outside is at the uplink of the other endpoint's bridge.
///
/// # Errors
/// When there is no such zone, guest or device, or the packet would not cross the node.
pub(super) fn locate(from: &Endpoint, to: &Endpoint, view: &View) -> Result<(Located, Located)> {
    let (from, to) = (find(from, view)?, find(to, view)?);
    let outside = |other: &Option<End>| {
        let bridge = match other {
            None => bail!("a packet from outside to outside does not cross the node; give a guest or the host"),
            Some(End::Host) => BRIDGE.to_string(),
            Some(End::Port { bridge, .. }) => bridge.clone(),
            Some(End::Guest(guest)) => guest.bridge.clone(),
        };
        Ok(End::Port { bridge, port: "outside".to_string() })
    };
    let from_end = from.end.clone().map_or_else(|| outside(&to.end), Ok)?;
    let to_end = to.end.map_or_else(|| outside(&from.end), Ok)?;
    if from_end == to_end && from_end != End::Host {
        bail!("the packet does not leave its zone: --from and --to are the same");
    }
    Ok((Located { end: from_end, addresses: from.addresses }, Located { end: to_end, addresses: to.addresses }))
}

fn find(endpoint: &Endpoint, view: &View) -> Result<Partial> {
    let nothing_known = |end| Ok(Partial { end, addresses: Vec::new() });
    match &endpoint.kind {
        Kind::Host => {
            let addresses = view.compiled.localnet.address.into_iter().collect();
            Ok(Partial { end: Some(End::Host), addresses })
        }
        Kind::Outside => nothing_known(None),
        Kind::Port { bridge, port } => nothing_known(Some(End::Port { bridge: bridge.clone(), port: port.clone() })),
        Kind::Guest { kind, vmid, index } => find_guest(view, *kind, *vmid, *index),
        Kind::Address(address) => {
            let addresses = vec![*address];
            let end = match view.compiled.localnet.address == Some(*address) || address.is_loopback() {
                true => Some(End::Host),
                false => owner(view, *address).map(End::Guest),
            };
            Ok(Partial { end, addresses })
        }
        Kind::Unknown => bail!(
            "there is no zone '{}': give host, outside, an address, vm<ID>[i<N>], ct<ID>[i<N>] or <bridge>/<port>{}",
            endpoint.text,
            here("the node's guests are", &listed(view))
        ),
    }
}
/// The guests of the node.
fn listed(view: &View) -> Vec<Listed> {
    let View { tree, facts, .. } = view;
    node::listed(tree.content(VMLIST), &facts.node, tree.files.keys().map(|path| &**path))
}

fn word(kind: GuestKind) -> &'static str {
    if kind == GuestKind::Vm { "vm" } else { "ct" }
}

/// A list of the node's guests for messages.
fn here(what: &str, guests: &[Listed]) -> String {
    listing(what, guests.iter().map(|guest| format!("{}{}", word(guest.kind), guest.vmid)))
}

/// The guest's device that has an address: by the guest's configuration, or else by the device's IP filter.
fn owner(view: &View, address: IpAddr) -> Option<GuestPort> {
    let View { tree, facts, compiled } = view;
    let guests = listed(view);
    let links = guests.iter().filter_map(|guest| Some(node::links(tree.content(&guest.conf(&facts.node))?, guest)));
    let links: Vec<Link> = links.flatten().collect();
    let filters = compiled.configuration.guests.iter().filter_map(|guest| match &guest.files {
        GuestFiles::Read { firewall, devices: _ } => Some((guest.listed.vmid, &firewall.definitions.sets)),
        GuestFiles::Unreadable { live: _ } => None,
    });
    let filters: BTreeMap<u32, &BTreeMap<String, IpSet>> = filters.collect();
    let filtered = |link: &&Link| {
        let entries = &filters.get(&link.device.vmid)?.get(&format!("ipfilter-net{}", link.device.index))?.entries;
        let nets = entries.iter().filter(|entry| entry.net.contains(&address));
        let narrowest = nets.max_by_key(|entry| entry.net.prefix_len())?;
        (!narrowest.nomatch).then(|| narrowest.net.prefix_len())
    };
    let configured = links.iter().find(|link| link.addresses.contains(&address));
    let link = configured.or_else(|| links.iter().filter(|link| filtered(link).is_some()).max_by_key(filtered))?;
    let Link { device, bridge, firewalled, mac: _, addresses: _ } = link.clone();
    Some(GuestPort { device, bridge: bridge?, firewalled })
}

fn find_guest(view: &View, kind: GuestKind, vmid: u32, index: Option<u8>) -> Result<Partial> {
    let View { tree, facts, .. } = view;
    let name = |kind| if kind == GuestKind::Vm { "VM" } else { "container" };
    let guests = listed(view);
    let guest = guests.iter().find(|guest| guest.vmid == vmid);
    let guest = guest.with_context(|| {
        format!("there is no {} {vmid} on node {}{}", name(kind), facts.node, here("its guests are", &guests))
    })?;
    if guest.kind != kind {
        bail!("guest {vmid} is a {}: use {}{vmid}", name(guest.kind), word(guest.kind));
    }
    let path = guest.conf(&facts.node);
    let conf = tree.content(&path).with_context(|| format!("{}/{path} cannot be read", tree.root))?;
    let links = node::links(conf, guest);
    let link = match index {
        None => links.into_iter().next().with_context(|| format!("{} {vmid} has no network device", name(kind)))?,
        Some(index) => {
            let here = listing("it has", links.iter().map(|link| format!("net{}", link.device.index)));
            let link = links.into_iter().find(|link| link.device.index == index);
            link.with_context(|| format!("{} {vmid} has no network device net{index}{here}", name(kind)))?
        }
    };
    let Link { device, bridge, firewalled, mac: _, addresses } = link;
    let bridge =
        bridge.with_context(|| format!("net{} of {} {vmid} is not attached to a bridge", device.index, name(kind)))?;
    Ok(Partial { end: Some(End::Guest(GuestPort { device, bridge, firewalled })), addresses })
}

/// Why the firewall filters nothing for an endpoint; `None` if it does.
pub(super) fn switched_off(located: &Located, view: &View) -> Option<String> {
    let Configuration { host, guests, .. } = &*view.compiled.configuration;
    match &located.end {
        End::Host if !host.options.enable => Some("the host firewall is off: 'enable: 0' in host.fw".to_string()),
        End::Host | End::Port { .. } => None,
        End::Guest(GuestPort { device, firewalled: false, .. }) => {
            Some(format!("net{} of guest {} lacks firewall=1, so it is not filtered", device.index, device.vmid))
        }
        End::Guest(GuestPort { device, .. }) => match guests.iter().find(|guest| guest.listed.vmid == device.vmid) {
            None => Some(format!("guest {0} has no firewall/{0}.fw, so it is not filtered", device.vmid)),
            Some(guest) => match &guest.files {
                GuestFiles::Read { firewall, devices: _ } if !firewall.options.enable => {
                    Some(format!("the firewall of guest {0} is off: set 'enable: 1' in firewall/{0}.fw", device.vmid))
                }
                GuestFiles::Read { .. } | GuestFiles::Unreadable { live: _ } => None,
            },
        },
    }
}

/// The existing names, if there are only a few.
fn listing(what: &str, names: impl ExactSizeIterator<Item = String>) -> String {
    match names.len() {
        1..=12 => format!(": {what} {}", names.collect::<Vec<_>>().join(", ")),
        _ => String::new(),
    }
}
