//! Ports.
use super::token::Spelled;
use std::sync::Arc;

/// Source or destination ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// One port or one range, including both ends.
    One(Spelled<(u16, u16)>),
    /// A list of ports and ranges.
    Several(Arc<Spelled<Vec<(u16, u16)>>>),
}
