//! Facts about the node from text: its guests and their devices, the cluster's members, the local network, corosync.

mod corosync;
mod guests;
mod localnet;
mod members;

pub use corosync::{Corosync, CorosyncNode, IpVersion, link_number};
pub use guests::{Device, GuestKind, Listed, devices, listed};
pub use localnet::detect;
pub use members::node_address;
