//! Decodes messages of rtnetlink(7): addresses, network interfaces, neighbours.
pub(crate) mod address;
pub mod link;
pub(crate) mod neighbour;
