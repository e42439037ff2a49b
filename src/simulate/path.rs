//! The path of a packet through the node: the hooks of the bridges that it traverses.
//!
//! A firewalled device is a port of its own bridge, `vmbrX - fwpr<id>p<n> = fwln<id>i<n> - fwbr<id>i<n> - tap<id>i<n>`; any
//! other device is a port of `vmbrX` itself.
use crate::model::guest::GuestDevice;
use std::fmt;

/// Source or destination of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The node itself.
    Host,
    /// The network at a port of a bridge, such as the uplink.
    Port {
        /// The bridge.
        bridge: String,
        /// Its port.
        port: String,
    },
    /// A device of a guest.
    Guest(GuestPort),
}

/// A guest's device and its bridge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GuestPort {
    /// The device.
    pub device: GuestDevice,
    /// The bridge that it is attached to, directly or through its own bridge.
    pub bridge: String,
    /// Whether it has its own bridge, on which the firewall filters (`firewall=1`).
    pub firewalled: bool,
}

impl GuestPort {
    /// The port of `vmbrX` towards it.
    fn outer(&self) -> String {
        if self.firewalled { self.device.outer_link() } else { self.device.to_string() }
    }
}

/// A netfilter hook on the path of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A bridge forwards it from port to port: FORWARD.
    Bridge {
        /// The bridge.
        bridge: String,
        /// The input port.
        from: String,
        /// The output port.
        to: String,
    },
    /// The node routes it from one interface to another: FORWARD, not bridged.
    Route {
        /// The input interface.
        from: String,
        /// The output interface.
        to: String,
    },
    /// It is for the node itself: INPUT.
    Input {
        /// The input interface.
        interface: String,
    },
    /// It is from the node itself: OUTPUT.
    Output {
        /// The output interface.
        interface: String,
    },
}

impl Hop {
    /// The built-in chain of the hook.
    #[must_use]
    pub fn hook(&self) -> &'static str {
        match self {
            Hop::Bridge { .. } | Hop::Route { .. } => "FORWARD",
            Hop::Input { .. } => "INPUT",
            Hop::Output { .. } => "OUTPUT",
        }
    }

    /// The input interface as rules match it: for a bridged packet, the bridge.
    #[must_use]
    pub fn entered_by(&self) -> Option<&str> {
        match self {
            Hop::Bridge { bridge: interface, .. } | Hop::Route { from: interface, .. } | Hop::Input { interface } => {
                Some(interface)
            }
            Hop::Output { .. } => None,
        }
    }

    /// The output interface as rules match it: for a bridged packet, the bridge.
    #[must_use]
    pub fn left_by(&self) -> Option<&str> {
        match self {
            Hop::Bridge { bridge: interface, .. } | Hop::Route { to: interface, .. } | Hop::Output { interface } => {
                Some(interface)
            }
            Hop::Input { .. } => None,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hop::Bridge { bridge, from, to } => write!(f, "bridge {bridge}, from port {from} to port {to}"),
            Hop::Route { from, to } => write!(f, "host, routed from {from} to {to}"),
            Hop::Input { interface } => write!(f, "host, input on {interface}"),
            Hop::Output { interface } => write!(f, "host, output on {interface}"),
        }
    }
}

/// The hooks on the path between two endpoints; none if the path does not cross the node.
#[must_use]
pub fn path_between(from: &End, to: &End) -> Vec<Hop> {
    let mut hops = Vec::new();
    if from == to && *from != End::Host {
        return hops;
    }
    if let End::Guest(guest) = from
        && guest.firewalled
    {
        hops.push(Hop::Bridge {
            bridge: guest.device.bridge(),
            from: guest.device.to_string(),
            to: guest.device.inner_link(),
        });
    }
    match (attached(from), attached(to)) {
        (None, None) => {
            let interface = "lo".to_string();
            hops.extend([Hop::Output { interface: interface.clone() }, Hop::Input { interface }]);
        }
        (Some((interface, _)), None) => hops.push(Hop::Input { interface }),
        (None, Some((interface, _))) => hops.push(Hop::Output { interface }),
        (Some((one, from)), Some((other, to))) if one == other => hops.push(Hop::Bridge { bridge: one, from, to }),
        (Some((from, _)), Some((to, _))) => hops.push(Hop::Route { from, to }),
    }
    if let End::Guest(guest) = to
        && guest.firewalled
    {
        hops.push(Hop::Bridge {
            bridge: guest.device.bridge(),
            from: guest.device.inner_link(),
            to: guest.device.to_string(),
        });
    }
    hops
}

/// The bridge and port of an endpoint; `None` for the node itself.
fn attached(end: &End) -> Option<(String, String)> {
    match end {
        End::Host => None,
        End::Port { bridge, port } => Some((bridge.clone(), port.clone())),
        End::Guest(guest) => Some((guest.bridge.clone(), guest.outer())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::guest::GuestKind;

    fn guest(vmid: u32, bridge: &str, firewalled: bool) -> End {
        let device = GuestDevice { kind: GuestKind::Vm, vmid, index: 0 };
        End::Guest(GuestPort { device, bridge: bridge.into(), firewalled })
    }

    fn hops(from: &End, to: &End) -> Vec<String> {
        path_between(from, to).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_pair_of_endpoints_has_its_path() {
        let outside = End::Port { bridge: "vmbr0".into(), port: "eno1".into() };
        assert_eq!(hops(&outside, &End::Host), ["host, input on vmbr0"]);
        assert_eq!(hops(&End::Host, &End::Host), ["host, output on lo", "host, input on lo"]);
        assert_eq!(hops(&outside, &guest(9, "vmbr0", false)), ["bridge vmbr0, from port eno1 to port tap9i0"]);
        assert_eq!(
            hops(&guest(100, "vmbr0", true), &guest(101, "vmbr0", true)),
            [
                "bridge fwbr100i0, from port tap100i0 to port fwln100i0",
                "bridge vmbr0, from port fwpr100p0 to port fwpr101p0",
                "bridge fwbr101i0, from port fwln101i0 to port tap101i0",
            ]
        );
        assert_eq!(
            hops(&guest(100, "vmbr1", true), &outside),
            ["bridge fwbr100i0, from port tap100i0 to port fwln100i0", "host, routed from vmbr1 to vmbr0"]
        );
        assert_eq!(
            hops(&End::Host, &guest(100, "vmbr1", true)),
            ["host, output on vmbr1", "bridge fwbr100i0, from port fwln100i0 to port tap100i0"]
        );
        assert!(hops(&outside, &outside).is_empty());
    }
}
