//! What the simulators of both backends share: the packet, and its path through the node.
mod packet;
mod path;

pub use packet::{Cast, Frame, Layer, Packet};
pub use path::{End, GuestPort, Hop, path_between};
