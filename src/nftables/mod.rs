//! The second backend: the configuration as nftables rules, in two tables of its own.
//!
//! `ruleset` is the typed language of nft(8), `compile` makes it from the configuration.
pub mod apply;
pub mod backend;
pub mod compile;
pub mod json;
pub(crate) mod limits;
pub mod live;
pub mod names;
pub mod plan;
pub mod ruleset;
pub mod simulate;
