//! States of connection tracking.
use std::fmt;

/// A state of connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtState {
    /// The packet is not associated with a known connection (`INVALID`).
    Invalid,
    /// The packet starts a new connection.
    New,
    /// The packet starts a connection that is associated with an existing one.
    Related,
    /// The connection has seen packets in both directions.
    Established,
}

impl CtState {
    /// The name in iptables(8) and conntrack(8).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CtState::Invalid => "INVALID",
            CtState::New => "NEW",
            CtState::Related => "RELATED",
            CtState::Established => "ESTABLISHED",
        }
    }
}

impl fmt::Display for CtState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
