//! Sources and destinations of packets.
use super::family::Family;
use super::token::Spelled;
use ecow::EcoString;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// A literal source or destination in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// Addresses and networks of one family.
    Nets(Arc<Spelled<Vec<IpNet>>>),
    /// A range of addresses, including both ends.
    Range(Arc<Spelled<(IpAddr, IpAddr)>>),
}

impl Literal {
    /// The family of its addresses.
    pub fn family(&self) -> Family {
        let address = match self {
            Literal::Nets(nets) => nets.value.first().map(IpNet::addr),
            Literal::Range(range) => Some(range.value.0),
        };
        // a list of addresses is never empty
        address.map_or(Family::V4, Family::of)
    }
}

/// The scope of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetScope {
    /// The definition in cluster.fw.
    Cluster,
    /// The definition in the guest's own file.
    Guest,
    /// A set of SDN.
    Sdn,
}

/// A reference to an IP set that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRef {
    /// The scope.
    pub scope: SetScope,
    /// Its name in lower case.
    pub name: EcoString,
}

/// A packet's source or destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Addresses, networks, or a range, also from an alias.
    Literal(Literal),
    /// An IP set.
    Set(SetRef),
}
