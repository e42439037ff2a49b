//! Finds the endpoints of a packet in the configuration.
use super::address_owner::owner;
use crate::cli::endpoint::{Endpoint, EndpointKind};
use crate::cli::load::View;
use crate::config::{Configuration, GuestFiles};
use crate::model::guest::GuestKind;
use crate::node::{self, Link, ListedGuest};
use crate::paths::VMLIST;
use crate::simulate::{End, GuestPort};
use anyhow::{Context as _, Result, bail};
use std::net::IpAddr;

/// The bridge whose uplink is used for outside if the other endpoint is not on a bridge.
const BRIDGE: &str = "vmbr0";

/// An endpoint, resolved with the configuration.
pub(super) struct Located {
    pub end: End,
    /// The known addresses of the endpoint.
    pub addresses: Vec<IpAddr>,
    /// The address that was given as the endpoint, if neither the node nor a guest has it.
    pub unowned: Option<IpAddr>,
}

/// An endpoint that may need the other one to be complete: `outside` is on the bridge of the other endpoint.
struct Partial {
    end: Option<End>,
    addresses: Vec<IpAddr>,
    unowned: Option<IpAddr>,
}

impl Partial {
    fn new(end: Option<End>, addresses: Vec<IpAddr>) -> Self {
        Partial { end, addresses, unowned: None }
    }

    fn located(self, end: End) -> Located {
        let Partial { end: _, addresses, unowned } = self;
        Located { end, addresses, unowned }
    }
}

/// Resolves both endpoints. Outside is at the uplink of the other endpoint's bridge.
///
/// # Errors
/// When there is no such zone, guest or device, or the packet would not cross the node.
pub(super) fn locate(from: &Endpoint, to: &Endpoint, view: &View) -> Result<(Located, Located)> {
    let (from, to) = (find(from, view)?, find(to, view)?);
    let outside = |other: &Option<End>| {
        let bridge = match other {
            None => {
                let unowned =
                    from.unowned.into_iter().chain(to.unowned).map(|one| format!("; {}", no_guest_has(one, view)));
                bail!(
                    "a packet from outside to outside does not cross the node; give a guest or the host{}",
                    unowned.collect::<String>()
                )
            }
            Some(End::Host) => BRIDGE.to_string(),
            Some(End::Port { bridge, .. }) => bridge.clone(),
            Some(End::Guest(guest)) => guest.bridge.clone(),
        };
        Ok(End::Port { bridge, port: "outside".to_string() })
    };
    let from_end = from.end.clone().map_or_else(|| outside(&to.end), Ok)?;
    let to_end = to.end.clone().map_or_else(|| outside(&from.end), Ok)?;
    if from_end == to_end && from_end != End::Host {
        bail!("the packet does not leave its zone: --from and --to are the same");
    }
    Ok((from.located(from_end), to.located(to_end)))
}

/// The message that no guest has an address, with a list of the guests.
fn no_guest_has(address: IpAddr, view: &View) -> String {
    format!(
        "no guest of node {} has the address {address} by its configuration, IP filter or IPAM{}",
        view.facts.node,
        here("its guests are", &listed(view))
    )
}

/// The note for an address that neither the node nor a guest has.
pub(super) fn unowned(located: &Located, view: &View) -> Option<String> {
    located.unowned.map(|address| format!("{}; it is treated as an address outside", no_guest_has(address, view)))
}

fn find(endpoint: &Endpoint, view: &View) -> Result<Partial> {
    match &endpoint.kind {
        EndpointKind::Host => Ok(Partial::new(Some(End::Host), view.compiled.localnet.address.into_iter().collect())),
        EndpointKind::Outside => Ok(Partial::new(None, Vec::new())),
        EndpointKind::Port { bridge, port } => {
            Ok(Partial::new(Some(End::Port { bridge: bridge.clone(), port: port.clone() }), Vec::new()))
        }
        EndpointKind::Guest { kind, vmid, index } => find_guest(view, *kind, *vmid, *index),
        EndpointKind::Address(address) => {
            let end = owner(view, &listed(view), *address);
            Ok(Partial { unowned: end.is_none().then_some(*address), ..Partial::new(end, vec![*address]) })
        }
        EndpointKind::Unknown => bail!(
            "there is no zone '{}': give host, outside, an address, vm<ID>[i<N>], ct<ID>[i<N>] or <bridge>/<port>{}",
            endpoint.text,
            here("the node's guests are", &listed(view))
        ),
    }
}

/// The guests of the node.
fn listed(view: &View) -> Vec<ListedGuest> {
    let View { tree, facts, .. } = view;
    node::listed(tree.content(VMLIST), &facts.node, tree.files.keys().map(|path| &**path))
}

fn word(kind: GuestKind) -> &'static str {
    if kind == GuestKind::Vm { "vm" } else { "ct" }
}

/// A list of the node's guests for messages.
fn here(what: &str, guests: &[ListedGuest]) -> String {
    listing(what, guests.iter().map(|guest| format!("{}{}", word(guest.kind), guest.vmid)))
}

fn find_guest(view: &View, kind: GuestKind, vmid: u32, index: Option<u8>) -> Result<Partial> {
    let View { tree, facts, .. } = view;
    let name = |kind| if kind == GuestKind::Vm { "VM" } else { "container" };
    let guests = listed(view);
    let guest = guests.iter().find(|guest| guest.vmid == vmid);
    let guest = guest.with_context(|| {
        let others = tree.content(VMLIST).is_some_and(|vmlist| node::vmids(vmlist).contains(&vmid));
        let elsewhere = if others { ": another node has it" } else { "" };
        format!(
            "there is no {} {vmid} on node {}{elsewhere}{}",
            name(kind),
            facts.node,
            here("its guests are", &guests)
        )
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
    Ok(Partial::new(Some(End::Guest(GuestPort { device, bridge, firewalled })), addresses))
}

/// Why the firewall does not filter packets of an endpoint; `None` if it does.
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
