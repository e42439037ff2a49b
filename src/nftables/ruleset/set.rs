//! Sets, maps, and the other named objects of a table.
use super::interval::IntervalSet;
use crate::model::{Family, Interface, Origin};
use crate::nftables::names::Name;
use std::collections::BTreeMap;

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// Addresses of a family.
    Addresses(Family, IntervalSet),
    /// Ports: ranges in order that neither overlap nor touch.
    Ports(Vec<(u16, u16)>),
}

/// A set that the configuration fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its entries.
    pub kind: SetKind,
    /// Its source.
    pub origin: Origin,
}

/// A set that packets fill: the sources of a family, each for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicSet {
    /// The family of the sources.
    pub family: Family,
    /// How long a source stays, in seconds.
    pub timeout: u64,
    /// The most sources that it holds.
    pub size: u32,
}

/// What a map is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapKey {
    /// `iifname`
    InInterface,
    /// `oifname`
    OutInterface,
    /// `meta ibrname . meta obrname`: the bridge that a frame enters and the one that it leaves by.
    Bridges,
}

/// What a map says.
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

/// A map from interfaces to chains. With [`MapKey::Bridges`] an element stands for the pair of twice the same bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// What it is asked with.
    pub key: MapKey,
    /// The value.
    pub elements: BTreeMap<Interface, VerdictTarget>,
}

/// A connection tracking helper (`ct helper`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// The kernel's name of it, such as `ftp`.
    pub kind: &'static str,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The family that it works in; `None` is both.
    pub family: Option<Family>,
}
