//! Plans updates: compares the wanted tables with the live ones to get a [`Plan`], and renders it as the script of one
//! transaction.
mod compared;
mod diff;
mod edits;
mod elements;
mod live_cache;
mod script;

pub use compared::remember;
pub use diff::{ChainChange, Plan, SetChange, TablePlan, diff};
pub use edits::{Edit, InsertPosition};
pub use live_cache::{CachedChain, Edited, LiveCache};
pub use script::{Script, script};
