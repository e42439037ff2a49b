//! Directions of rules and chains.

/// The direction of a rule. FORWARD rules are checked and generate nothing: the nftables backend enforces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the host or guest.
    In,
    /// From it.
    Out,
    /// Through the host.
    Forward,
}
