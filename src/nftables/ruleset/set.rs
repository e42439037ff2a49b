//! Sets and maps; `declaration_text` renders them, and `text` the keys of maps.
use super::interval::IntervalSet;
use crate::model::{Family, Interface, Origin};
use crate::nftables::names::Name;
use imbl::OrdMap;

/// The content of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// Addresses of a family.
    Addresses(Family, IntervalSet),
    /// Ports: ranges in order, neither overlapping nor adjacent.
    Ports(Vec<(u16, u16)>),
}

/// A set with entries from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its entries.
    pub kind: SetKind,
    /// The origin of the set.
    pub origin: Origin,
}

/// A dynamic set, to which rules add the sources of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicSet {
    /// The family of the sources.
    pub family: Family,
    /// The timeout of a source, in seconds.
    pub timeout: u64,
    /// The maximum number of sources.
    pub size: u32,
}

/// The key of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapKey {
    /// `iifname`
    InInterface,
    /// `oifname`
    OutInterface,
    /// `meta ibrname . meta obrname`: the bridge that a frame enters and the one that it leaves by.
    Bridges,
}

/// The verdict of a map's element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerdictTarget {
    /// `jump`
    Jump(Name),
    /// `goto`
    Goto(Name),
}

impl VerdictTarget {
    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Name {
        match self {
            VerdictTarget::Jump(chain) | VerdictTarget::Goto(chain) => chain,
        }
    }
}

/// A map from interfaces to chains. With [`MapKey::Bridges`] the key of an element is its bridge twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The key.
    pub key: MapKey,
    /// The elements by interface.
    pub elements: OrdMap<Interface, VerdictTarget>,
}
