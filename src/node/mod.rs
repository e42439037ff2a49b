//! Parses facts about the node: its guests and their devices, the cluster's members, the local network, corosync, and the name
//! databases in /etc.

mod cluster_file_errors;
mod corosync;
mod guest_devices;
mod guests;
mod localnet;
mod members;
pub mod name_databases;
mod network;
pub(crate) mod routes;

pub use corosync::Corosync;
pub use guest_devices::{Device, Link, devices, links};
pub use guests::{GuestList, ListedGuest, check_vmlist, conf_files_elsewhere, listed, lists_all, vmids};
pub use localnet::{broadcasts, detect};
pub use members::has_others;
pub use network::{CorosyncLinks, CorosyncPeer, Localnet, Network, UnresolvedLink, names_to_resolve};
