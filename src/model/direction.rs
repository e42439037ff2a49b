//! Directions of rules and chains.

/// The direction of a rule. Only the nftables backend enforces FORWARD rules; with iptables they are only checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Incoming packets of the host or guest.
    In,
    /// Outgoing packets.
    Out,
    /// Forwarded packets.
    Forward,
}
