//! Tracked connections and rules: finds connections that would be refused if they started now.

mod compare;
mod judge;
mod network;

pub use compare::{Comparison, RefusedConnection, RulesChange, compare};
pub use network::{Network, Surroundings};
