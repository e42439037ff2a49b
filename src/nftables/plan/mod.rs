//! What has to change, so that what is live becomes what is wanted, and the script for nft that does it in one transaction.
mod diff;
mod edits;
mod elements;
mod known;
mod script;

pub use diff::{ChainChange, Plan, SetChange, TablePlan, diff};
pub use edits::{Edit, Place};
pub use known::{Known, KnownChain};
pub use script::{Script, script};
