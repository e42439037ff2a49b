//! Rules as they are understood: what the compilers get.
use crate::model::{Address, Direction, Family, IcmpType, PerFamily, Ports, Span, Spelled, Verdict};

/// What a rule says about the protocol. A macro gives a rule several of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// The protocol; `None` is any.
    pub proto: Option<Spelled<u8>>,
    /// Source ports.
    pub sport: Option<Ports>,
    /// Destination ports.
    pub dport: Option<Ports>,
    /// An ICMP type of the family.
    pub icmp_type: Option<(Family, Spelled<IcmpType>)>,
}

/// A rule with a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictRule {
    /// Its direction.
    pub direction: Direction,
    /// What happens to the packets.
    pub verdict: Verdict,
    /// Source address; `None` is any.
    pub source: Option<Address>,
    /// Destination address; `None` is any.
    pub dest: Option<Address>,
    /// What it says about the protocol, in each family; empty in a family that it does not apply to.
    pub terms: PerFamily<Vec<Term>>,
    /// The level at which it logs.
    pub log: Option<u8>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It decides over packets.
    Verdict(VerdictRule),
    /// It applies a group, by its name in lower case.
    Group(String),
}

/// An enabled rule without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its line.
    pub line: u32,
    /// Where its action stands in the line.
    pub place: Span,
    /// The interface that it is limited to: a netid for guests.
    pub iface: Option<String>,
    /// What it does.
    pub action: Action,
}
