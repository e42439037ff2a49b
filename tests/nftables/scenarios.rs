//! The scenarios of `tests/kernel/scenarios`, with this backend.
//!
//! If the kernel does not track connections in bridges, packets of nodes with guests are simulated.
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
