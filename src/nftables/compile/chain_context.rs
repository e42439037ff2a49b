//! The chain that rules of the configuration are compiled for, and what they mean there.
use super::sets::GuestSets;
use crate::model::{Direction, Interface};
use crate::nftables::ruleset::Action;
use std::sync::Arc;

/// The chain to which rules are added, and its targets for verdicts.
pub struct ChainContext<'a> {
    /// The file of the rules.
    pub file: &'a Arc<str>,
    /// The direction of the chain.
    pub direction: Direction,
    /// The VMID for log prefixes, or 0.
    pub vmid: u32,
    /// The target for ACCEPT.
    pub accept: Action,
    /// What REJECT means.
    pub reject: Action,
    /// The queues of a guest whose accepted packets are inspected.
    pub queues: Option<(u16, u16)>,
    /// The sets of the guest's own file.
    pub guest_sets: Option<&'a GuestSets>,
    /// The devices that `-i` may mean; what it means if it is none of them.
    pub interface: &'a dyn Fn(&str) -> Limited,
}

/// What the interface of a rule limits it to.
pub enum Limited {
    /// Packets of this interface.
    To(Option<Interface>),
    /// No packet that comes here.
    Nothing,
}
