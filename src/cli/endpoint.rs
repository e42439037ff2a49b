//! Endpoints of a packet as words of the command line.
use crate::model::guest::{GuestKind, parse_net_index, parse_vmid};
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The source or destination of a packet as given on the command line: a "zone" in the manual of Proxmox VE, but not one
/// of its software-defined network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) text: String,
    pub(super) kind: EndpointKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EndpointKind {
    Host,
    Outside,
    Port {
        bridge: String,
        port: String,
    },
    Guest {
        kind: GuestKind,
        vmid: u32,
        index: Option<u8>,
    },
    /// The node or guest that has the address.
    Address(IpAddr),
    Unknown,
}

impl FromStr for Endpoint {
    type Err = Infallible;

    /// Parses `host`, `outside`, an address, `vm<ID>[i<N>]`, `ct<ID>[i<N>]` or `<bridge>/<port>`. Any other word is an error
    /// that is reported when the endpoints are located, because the message lists the guests.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let kind = match (text, text.split_once('/')) {
            ("host", _) => Some(EndpointKind::Host),
            ("outside", _) => Some(EndpointKind::Outside),
            (_, Some((bridge, port))) => {
                let both = is_interface(bridge) && is_interface(port);
                both.then(|| EndpointKind::Port { bridge: bridge.into(), port: port.into() })
            }
            _ => text.parse().map(EndpointKind::Address).ok().or_else(|| guest(text)),
        };
        Ok(Endpoint { text: text.to_string(), kind: kind.unwrap_or(EndpointKind::Unknown) })
    }
}

fn guest(text: &str) -> Option<EndpointKind> {
    let kinds = [("vm", GuestKind::Vm), ("ct", GuestKind::Container)];
    let (kind, rest) = kinds.into_iter().find_map(|(word, kind)| Some((kind, text.strip_prefix(word)?)))?;
    let (vmid, index) = rest.split_once('i').map_or((rest, None), |(vmid, index)| (vmid, Some(index)));
    let index = match index {
        Some(index) => Some(parse_net_index(index)?),
        None => None,
    };
    Some(EndpointKind::Guest { kind, vmid: parse_vmid(vmid)?, index })
}

/// The name of a network interface: up to 15 printable characters.
fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_names_are_completed() {
        let kind = |text: &str| text.parse::<Endpoint>().map(|zone| zone.kind).unwrap_or(EndpointKind::Unknown);
        for good in
            ["host", "outside", "vm100", "vm100i1", "ct200i12", "vmbr0/eno1", "vmbr0/enp3s0.5", "10.0.0.1", "fd00::1"]
        {
            assert_ne!(kind(good), EndpointKind::Unknown, "{good}");
        }
        for bad in [
            "",
            "Host",
            "vm",
            "vm100i",
            "vm100i256",
            "vmx",
            "ct-1",
            "vmbr0",
            "/eno1",
            "vmbr0/",
            "a/b/c",
            "100",
            "10.0.0",
        ] {
            assert_eq!(kind(bad), EndpointKind::Unknown, "{bad}");
        }
    }
}
