//! Tracked connections and rules: finds connections that would be refused if they started now.

mod compare;
mod judge;
mod network;

pub use compare::{Comparison, Decide, RefusedConnection, RulesChange, compare};
pub use judge::{Beginning, Unjudged};
pub use network::{Network, Owner, Surroundings};
