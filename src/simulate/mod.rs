//! What the simulators of both backends share: the packet, its path through the node, and the answer.
mod packet;
mod path;
mod trace;

pub use packet::{Cast, Frame, Layer, Packet};
pub use path::{End, GuestPort, Hop, path_between};
/// Whether a change of rules can matter to a packet on its way from one endpoint to another.
pub type Concerns<'a> = dyn Fn(&End, &End, Layer) -> bool + Sync + 'a;

pub use trace::{Decided, Sent, Trace, TracedDecision, TracedHop, TracedRule, TracedTable};
