//! Tracked connections and rules: finds connections that would be refused if they started now.

mod compare;
mod first_packet;
mod owners;

pub use compare::{Comparison, RefusedConnection, RulesChange, compare};
pub use owners::{AddressOwners, NodeNetwork};
