//! The common parts of both backends' simulators: the packet, its path through the node, and the result.
mod affected_packets;
mod packet;
mod path;
mod trace;

pub use affected_packets::{
    ChangedChain, IsAffected, IsAffectedBetween, affected_at_hooks, differing, visit_reachable,
};
pub use packet::{Cast, Frame, Layer, Packet};
pub use path::{End, GuestPort, Hop, path_between};
pub use trace::{Decided, Sent, Trace, TracedDecision, TracedHop, TracedRule, TracedTable};
