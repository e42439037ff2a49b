//! The way of a packet through the node: which hooks of which bridges it meets.
//!
//! A firewalled device sits on a bridge of its own, `vmbrX - fwpr<id>p<n> = fwln<id>i<n> - fwbr<id>i<n> - tap<id>i<n>`; any
//! other device is a port of `vmbrX` itself.
use std::fmt;

/// Where a packet comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The node itself.
    Host,
    /// What lies behind a port of a bridge, such as the uplink.
    Port {
        /// The bridge.
        bridge: String,
        /// Its port.
        port: String,
    },
    /// A device of a guest.
    Guest(GuestPort),
}

/// A guest's device and how it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPort {
    /// Its name on the node: `tap100i0`, `veth200i1`.
    pub device: String,
    /// The guest's number.
    pub vmid: u32,
    /// The device's number.
    pub index: u8,
    /// The bridge that it is attached to, directly or through its own one.
    pub bridge: String,
    /// Whether it has a bridge of its own, where the firewall looks (`firewall=1`).
    pub firewalled: bool,
}

impl GuestPort {
    fn own_bridge(&self) -> String {
        format!("fwbr{}i{}", self.vmid, self.index)
    }

    /// The port of its own bridge that leads to `vmbrX`.
    fn inner(&self) -> String {
        format!("fwln{}i{}", self.vmid, self.index)
    }

    /// The port of `vmbrX` that leads to it.
    fn outer(&self) -> String {
        if self.firewalled { format!("fwpr{}p{}", self.vmid, self.index) } else { self.device.clone() }
    }
}

/// A hook of the kernel that a packet meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// It crosses a bridge from port to port: FORWARD.
    Bridge {
        /// The bridge.
        bridge: String,
        /// The port that it enters by.
        from: String,
        /// The port that it leaves by.
        to: String,
    },
    /// The node routes it from one interface to another: FORWARD, not bridged.
    Route {
        /// The interface that it enters by.
        from: String,
        /// The interface that it leaves by.
        to: String,
    },
    /// It is for the node itself: INPUT.
    Input {
        /// The interface that it enters by.
        interface: String,
    },
    /// It is from the node itself: OUTPUT.
    Output {
        /// The interface that it leaves by.
        interface: String,
    },
}

impl Hop {
    /// The chain that the hook begins with.
    #[must_use]
    pub fn hook(&self) -> &'static str {
        match self {
            Hop::Bridge { .. } | Hop::Route { .. } => "FORWARD",
            Hop::Input { .. } => "INPUT",
            Hop::Output { .. } => "OUTPUT",
        }
    }

    /// The interface that the packet enters by, as rules name it: of a bridged packet, the bridge.
    #[must_use]
    pub fn entered_by(&self) -> Option<&str> {
        match self {
            Hop::Bridge { bridge: interface, .. } | Hop::Route { from: interface, .. } | Hop::Input { interface } => {
                Some(interface)
            }
            Hop::Output { .. } => None,
        }
    }

    /// The interface that the packet leaves by, as rules name it: of a bridged packet, the bridge.
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
            Hop::Input { interface } => write!(f, "host, in by {interface}"),
            Hop::Output { interface } => write!(f, "host, out by {interface}"),
        }
    }
}

/// The hooks that a packet meets between two ends; none where it does not cross the node.
#[must_use]
pub fn way(from: &End, to: &End) -> Vec<Hop> {
    let mut hops = Vec::new();
    if from == to && *from != End::Host {
        return hops;
    }
    if let End::Guest(guest) = from
        && guest.firewalled
    {
        hops.push(Hop::Bridge { bridge: guest.own_bridge(), from: guest.device.clone(), to: guest.inner() });
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
        hops.push(Hop::Bridge { bridge: guest.own_bridge(), from: guest.inner(), to: guest.device.clone() });
    }
    hops
}

/// The bridge and its port that lead to an end; `None` for the node itself.
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

    fn guest(vmid: u32, bridge: &str, firewalled: bool) -> End {
        let device = format!("tap{vmid}i0");
        End::Guest(GuestPort { device, vmid, index: 0, bridge: bridge.into(), firewalled })
    }

    fn hops(from: &End, to: &End) -> Vec<String> {
        way(from, to).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_pair_of_endpoints_has_its_path() {
        let outside = End::Port { bridge: "vmbr0".into(), port: "eno1".into() };
        assert_eq!(hops(&outside, &End::Host), ["host, in by vmbr0"]);
        assert_eq!(hops(&End::Host, &End::Host), ["host, out by lo", "host, in by lo"]);
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
            ["host, out by vmbr1", "bridge fwbr100i0, from port fwln100i0 to port tap100i0"]
        );
        assert!(hops(&outside, &outside).is_empty());
    }
}
