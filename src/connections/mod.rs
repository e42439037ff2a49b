//! Tracked connections and rules: finds connections that would be refused if they started now.

mod address_owners;
mod compare;
mod first_packet;

pub use address_owners::{AddressOwners, NodeNetwork};
pub use compare::{Comparison, RefusedConnection, RulesChange, compare};
