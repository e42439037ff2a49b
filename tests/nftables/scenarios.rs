//! The scenarios of the manual that the tests of iptables have, with this backend.
//!
//! Where the kernel does not track connections in bridges, the simulator answers for nodes with guests.
#[path = "../kernel/scenarios/filters.rs"]
mod filters;
#[path = "../kernel/scenarios/floods.rs"]
mod floods;
#[path = "../kernel/scenarios/guest.rs"]
mod guest;
#[path = "../kernel/scenarios/host.rs"]
mod host;
#[path = "../kernel/scenarios/rules.rs"]
mod rules;
pub mod scenario;
