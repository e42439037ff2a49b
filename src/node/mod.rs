//! Facts about the node from text: its guests and their devices, the cluster's members, the local network, corosync.

mod corosync;
mod faults;
mod guests;
mod localnet;
mod members;

pub use corosync::{Corosync, CorosyncNode, IpVersion, link_number};
pub use faults::faults;
pub use guests::{Device, GuestKind, Link, Listed, devices, links, listed};
pub use localnet::{broadcasts, detect};
pub use members::node_address;
