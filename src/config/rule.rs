//! The model of rules, the input of the compilers.
use crate::model::{Address, Direction, Family, IcmpType, PerFamily, Ports, Span, Spelled, Verdict};
use ecow::EcoString;
use std::sync::Arc;

/// The protocol part of a rule. A rule with a macro can have several.
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
    /// The verdict.
    pub verdict: Verdict,
    /// Source address; `None` is any.
    pub source: Option<Address>,
    /// Destination address; `None` is any.
    pub dest: Option<Address>,
    /// The protocol parts for each family; empty for a family that the rule does not apply to. Equal ones are shared, because
    /// a large node has tens of thousands.
    pub terms: PerFamily<Arc<[Term]>>,
    /// The log level.
    pub log: Option<u8>,
}

/// The action of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// A verdict on packets.
    Verdict(VerdictRule),
    /// A group by its name in lower case.
    Group(EcoString),
}

/// A valid and enabled rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its line.
    pub line: u32,
    /// The position of its action in the line.
    pub place: Span,
    /// The interface; a netid for guests.
    pub iface: Option<EcoString>,
    /// The action.
    pub action: RuleAction,
}
