//! Encapsulations of IP packets that iptables does not filter.

/// An encapsulation in which IP packets bypass iptables: the kernel passes only plain IPv4 and IPv6 frames to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encapsulation {
    /// A VLAN tag (IEEE 802.1Q), also with the number 0, which has a priority only (802.1p).
    Vlan,
    /// A service tag, followed by further tags (IEEE 802.1ad, QinQ).
    ServiceVlan,
    /// PPPoE, discovery (RFC 2516).
    PppoeDiscovery,
    /// PPPoE, session.
    Pppoe,
    /// LLC and SNAP (IEEE 802.2): the header has a length instead of a type.
    Llc,
}

impl Encapsulation {
    /// All encapsulations.
    pub const ALL: [Encapsulation; 5] = [
        Encapsulation::Vlan,
        Encapsulation::ServiceVlan,
        Encapsulation::PppoeDiscovery,
        Encapsulation::Pppoe,
        Encapsulation::Llc,
    ];

    /// The name in ebtables and `layer2_protocols` of frames with a length instead of a type.
    pub const LENGTH: &str = "Length";

    /// Its ethertype; LLC has none.
    #[must_use]
    pub fn ethertype(self) -> Option<u16> {
        match self {
            Encapsulation::Vlan => Some(0x8100),
            Encapsulation::ServiceVlan => Some(0x88a8),
            Encapsulation::PppoeDiscovery => Some(0x8863),
            Encapsulation::Pppoe => Some(0x8864),
            Encapsulation::Llc => None,
        }
    }

    /// Whether it is a tag, as frames of a trunk have.
    #[must_use]
    pub fn is_tag(self) -> bool {
        matches!(self, Encapsulation::Vlan | Encapsulation::ServiceVlan)
    }

    /// Its name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Encapsulation::Vlan => "a VLAN tag",
            Encapsulation::ServiceVlan => "a QinQ tag",
            Encapsulation::PppoeDiscovery | Encapsulation::Pppoe => "PPPoE",
            Encapsulation::Llc => "LLC/SNAP",
        }
    }
}
