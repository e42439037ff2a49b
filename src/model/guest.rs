//! Guests, their numbers and their network devices on the host.
use std::fmt;

/// A virtual machine or a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuestKind {
    /// A QEMU virtual machine.
    Vm,
    /// An LXC container.
    Container,
}

impl GuestKind {
    /// Both, in the order of rules.
    pub const ALL: [GuestKind; 2] = [GuestKind::Vm, GuestKind::Container];

    /// The prefix of its device names on the host.
    #[must_use]
    pub fn device_prefix(self) -> &'static str {
        match self {
            GuestKind::Vm => "tap",
            GuestKind::Container => "veth",
        }
    }
}

/// Parses a VMID: one to nine digits, not beginning with 0.
///
/// Proxmox VE assigns 100 to 999999999; with nine digits a device name has at most 15 characters.
#[must_use]
pub fn parse_vmid(text: &str) -> Option<u32> {
    let plain =
        (1..=9).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Parses the index of a guest's network device, as in `net0`: 0 to 255, without leading zeros.
#[must_use]
pub fn parse_net_index(text: &str) -> Option<u8> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A guest's network device on the host; `Display` gives its name: `tap100i0`, `veth200i1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestDevice {
    /// The kind of the guest.
    pub kind: GuestKind,
    /// The VMID.
    pub vmid: u32,
    /// The index of the device: 0 for `net0`.
    pub index: u8,
}

impl GuestDevice {
    /// Parses a device name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        GuestKind::ALL.into_iter().find_map(|kind| {
            let (vmid, index) = numbers(name.strip_prefix(kind.device_prefix())?, 'i')?;
            Some(GuestDevice { kind, vmid, index })
        })
    }

    /// Parses the name of a device, or of its [`bridge`](Self::bridge) or one of its links, to the VMID of the guest.
    #[must_use]
    pub fn vmid_of_link(name: &str) -> Option<u32> {
        let link = || {
            let links = [(FIREWALL_BRIDGE, 'i'), (INNER_LINK, 'i'), (OUTER_LINK, 'p')];
            links.into_iter().find_map(|(prefix, separator)| numbers(name.strip_prefix(prefix)?, separator))
        };
        GuestDevice::parse(name).map(|device| device.vmid).or_else(|| Some(link()?.0))
    }

    /// The separate bridge of a firewalled device: `fwbr100i0`.
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("{FIREWALL_BRIDGE}{}i{}", self.vmid, self.index)
    }

    /// The port of this bridge towards the guest's bridge: `fwln100i0`.
    #[must_use]
    pub fn inner_link(&self) -> String {
        format!("{INNER_LINK}{}i{}", self.vmid, self.index)
    }

    /// The port of the guest's bridge towards this bridge: `fwpr100p0`.
    #[must_use]
    pub fn outer_link(&self) -> String {
        format!("{OUTER_LINK}{}p{}", self.vmid, self.index)
    }
}

/// The VMID and the index of a device, as in `100i0`.
fn numbers(text: &str, separator: char) -> Option<(u32, u8)> {
    let (vmid, index) = text.split_once(separator)?;
    Some((parse_vmid(vmid)?, parse_net_index(index)?))
}

/// The prefix of all [`GuestDevice::bridge`] names.
pub const FIREWALL_BRIDGE: &str = "fwbr";
/// The prefix of all [`GuestDevice::inner_link`] names.
pub const INNER_LINK: &str = "fwln";
/// The prefix of all [`GuestDevice::outer_link`] names.
pub const OUTER_LINK: &str = "fwpr";

/// Whether this is the name of a firewall bridge or one of its links.
#[must_use]
pub fn is_bridge_link(name: &str) -> bool {
    let numbered =
        |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| rest.starts_with(|one: char| one.is_ascii_digit()));
    [FIREWALL_BRIDGE, INNER_LINK, OUTER_LINK].into_iter().any(numbered)
}

impl fmt::Display for GuestDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}i{}", self.kind.device_prefix(), self.vmid, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_device_names_are_parsed() {
        for name in ["tap100i0", "veth200i12", "tap999999999i0", "veth1i255"] {
            assert_eq!(GuestDevice::parse(name).map(|device| device.to_string()).as_deref(), Some(name));
        }
        for other in ["tap0100i0", "tap100", "tap100i", "tap100i00", "veth1i256", "eth0", "tap1000000000i0", "tapi0"] {
            assert_eq!(GuestDevice::parse(other), None, "{other}");
        }
    }

    #[test]
    fn every_link_of_a_device_has_the_vmid_of_its_guest() {
        for name in ["tap100i0", "veth200i12"] {
            let device = GuestDevice::parse(name).unwrap();
            for link in [name.to_string(), device.bridge(), device.inner_link(), device.outer_link()] {
                assert_eq!(GuestDevice::vmid_of_link(&link), Some(device.vmid), "{link}");
            }
        }
        for other in ["vmbr0", "fwbr100", "fwbr100p0", "fwpr100i0", "fwln0i0", "tap100"] {
            assert_eq!(GuestDevice::vmid_of_link(other), None, "{other}");
        }
    }
}
