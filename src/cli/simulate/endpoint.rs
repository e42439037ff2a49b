//! Endpoints: source and destination of a packet.
use crate::cli::load::View;
use crate::iptables::simulate::{End, GuestPort};
use crate::model::guest::{GuestKind, parse_net_index, parse_vmid};
use crate::node::{self, Link};
use crate::paths::VMLIST;
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The bridge whose uplink is used for outside if the other endpoint is not on a bridge.
const BRIDGE: &str = "vmbr0";

/// A zone given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Outside,
    Port { bridge: String, port: String },
    Guest { kind: GuestKind, vmid: u32, index: Option<u8> },
}

/// A zone resolved with the configuration.
pub(super) struct Located {
    pub end: End,
    /// The known addresses of the endpoint.
    pub addresses: Vec<IpAddr>,
}

impl FromStr for Zone {
    type Err = String;

    /// Parses `host`, `outside`, `vm<ID>[i<N>]`, `ct<ID>[i<N>]` or `<bridge>/<port>`.
    fn from_str(text: &str) -> Result<Self, String> {
        let kind = match (text, text.split_once('/')) {
            ("host", _) => Some(Kind::Host),
            ("outside", _) => Some(Kind::Outside),
            (_, Some((bridge, port))) => {
                let both = is_interface(bridge) && is_interface(port);
                both.then(|| Kind::Port { bridge: bridge.into(), port: port.into() })
            }
            _ => guest(text),
        };
        let kind = kind.ok_or("a zone is host, outside, vm<ID>[i<N>], ct<ID>[i<N>] or <bridge>/<port>")?;
        Ok(Zone { text: text.to_string(), kind })
    }
}

fn guest(text: &str) -> Option<Kind> {
    let kinds = [("vm", GuestKind::Vm), ("ct", GuestKind::Container)];
    let (kind, rest) = kinds.into_iter().find_map(|(word, kind)| Some((kind, text.strip_prefix(word)?)))?;
    let (vmid, index) = rest.split_once('i').map_or((rest, None), |(vmid, index)| (vmid, Some(index)));
    let index = match index {
        Some(index) => Some(parse_net_index(index)?),
        None => None,
    };
    Some(Kind::Guest { kind, vmid: parse_vmid(vmid)?, index })
}

/// The name of a network interface: up to 15 printable characters.
fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Zone {
    /// Resolves both endpoints. Outside is at the uplink of the other endpoint's bridge.
    ///
    /// # Errors
    /// When there is no such guest or device, or the packet would not cross the node.
    pub(super) fn locate(from: &Zone, to: &Zone, view: &View) -> Result<(Located, Located)> {
        if from.kind == Kind::Outside && to.kind == Kind::Outside {
            bail!("a packet from outside to outside does not cross the node; give a guest or the host");
        }
        let (one, other) = (from.find(view, None)?, to.find(view, None)?);
        let bridge = |located: &Located| match &located.end {
            End::Host => None,
            End::Port { bridge, .. } => Some(bridge.clone()),
            End::Guest(guest) => Some(guest.bridge.clone()),
        };
        let from = if from.kind == Kind::Outside { from.find(view, bridge(&other))? } else { one };
        let to = if to.kind == Kind::Outside { to.find(view, bridge(&from))? } else { other };
        if from.end == to.end && from.end != End::Host {
            bail!("the packet does not leave its zone: --from and --to are the same");
        }
        Ok((from, to))
    }

    fn find(&self, view: &View, bridge: Option<String>) -> Result<Located> {
        let nothing_known = |end| Located { end, addresses: Vec::new() };
        match &self.kind {
            Kind::Host => {
                let addresses = view.compiled.localnet.address.into_iter().collect();
                Ok(Located { end: End::Host, addresses })
            }
            Kind::Outside => {
                let bridge = bridge.unwrap_or_else(|| BRIDGE.to_string());
                Ok(nothing_known(End::Port { bridge, port: "outside".to_string() }))
            }
            Kind::Port { bridge, port } => Ok(nothing_known(End::Port { bridge: bridge.clone(), port: port.clone() })),
            Kind::Guest { kind, vmid, index } => find_guest(view, *kind, *vmid, *index),
        }
    }
}

fn find_guest(view: &View, kind: GuestKind, vmid: u32, index: Option<u8>) -> Result<Located> {
    let View { tree, facts, .. } = view;
    let name = |kind| if kind == GuestKind::Vm { "VM" } else { "container" };
    let word = |kind| if kind == GuestKind::Vm { "vm" } else { "ct" };
    let guests = node::listed(tree.content(VMLIST), &facts.node, tree.files.keys().map(|path| &**path));
    let guest = guests.iter().find(|guest| guest.vmid == vmid);
    let here = || listing("its guests are", guests.iter().map(|guest| format!("{}{}", word(guest.kind), guest.vmid)));
    let guest = guest.with_context(|| format!("there is no {} {vmid} on node {}{}", name(kind), facts.node, here()))?;
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
    Ok(Located { end: End::Guest(GuestPort { device, bridge, firewalled }), addresses })
}

/// The existing names, if there are only a few.
fn listing(what: &str, names: impl ExactSizeIterator<Item = String>) -> String {
    match names.len() {
        1..=12 => format!(": {what} {}", names.collect::<Vec<_>>().join(", ")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_names_are_completed() {
        for good in ["host", "outside", "vm100", "vm100i1", "ct200i12", "vmbr0/eno1", "vmbr0/enp3s0.5"] {
            assert_eq!(good.parse::<Zone>().map(|zone| zone.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "Host", "vm", "vm100i", "vm100i256", "vmx", "ct-1", "vmbr0", "/eno1", "vmbr0/", "a/b/c", "100"]
        {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }
}
