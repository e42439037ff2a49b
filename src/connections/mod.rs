//! Tracked connections and rules: which connections would be refused if they began now.

mod compare;
mod judge;
mod network;

pub use compare::{Comparison, Refused, compare};
pub use judge::{Beginning, Unjudged};
pub use network::{Network, Owner, Surroundings};
