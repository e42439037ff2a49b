//! Ports.
use super::words::Spelled;
use std::sync::Arc;

/// The ports of one end of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// One port or one range, both ends included.
    One(Spelled<(u16, u16)>),
    /// A list of them.
    Several(Arc<Spelled<Vec<(u16, u16)>>>),
}
