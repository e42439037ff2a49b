//! Directions of rules and chains.

/// The direction of a rule. FORWARD rules are checked and generate nothing: the nftables backend enforces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Incoming packets of the host or guest.
    In,
    /// Outgoing packets.
    Out,
    /// Forwarded packets.
    Forward,
}
