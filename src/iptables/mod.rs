//! The backend for iptables, ip6tables, ipset and ebtables.

pub mod apply;
pub(crate) mod backend;
pub mod compile;
pub mod names;
pub mod plan;
pub mod ruleset;
pub mod simulate;
mod unsupported_values;
