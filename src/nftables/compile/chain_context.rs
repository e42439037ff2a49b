//! The chain for which users' rules are compiled, with its targets.
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
    /// The target for REJECT.
    pub reject: Action,
    /// The queues of a guest whose accepted packets are inspected.
    pub queues: Option<(u16, u16)>,
    /// The sets of the guest's own file.
    pub guest_sets: Option<&'a GuestSets>,
    /// Resolves the interface of `-i`.
    pub interface: &'a dyn Fn(&str) -> Limited,
}

/// The packets to which the interface of a rule limits it.
pub enum Limited {
    /// Packets of this interface; all packets with `None`.
    To(Option<Interface>),
    /// No packets of this chain.
    Nothing,
}
