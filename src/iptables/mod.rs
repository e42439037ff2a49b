//! The backend for iptables, ip6tables, ipset and ebtables.

pub mod apply;
pub(crate) mod backend;
pub mod compile;
mod limits;
pub mod names;
pub mod plan;
pub mod ruleset;
pub mod simulate;
