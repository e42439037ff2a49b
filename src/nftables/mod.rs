//! The nftables backend, which enforces the configuration with two tables of its own.
//!
//! `ruleset` contains typed objects of nft(8), which `compile` generates from the configuration.
pub mod apply;
pub mod backend;
pub mod compile;
pub mod json_export;
pub mod live;
pub mod names;
pub mod plan;
pub mod ruleset;
pub mod simulate;
pub(crate) mod unsupported_values;
