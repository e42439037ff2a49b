//! Plans updates: compares the wanted tables with the live ones to get a [`Plan`], and renders it as the script of one
//! transaction.
mod diff;
mod elements;
mod equal_parts;
mod live_cache;
mod rule_edits;
mod script;

pub use diff::{ChainChange, Plan, SetChange, TablePlan, diff};
pub use equal_parts::cache_equal_parts;
pub use live_cache::{CachedChain, Edited, LiveCache};
pub use rule_edits::{Edit, InsertPosition};
pub use script::{Script, script};
