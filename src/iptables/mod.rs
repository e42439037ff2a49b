//! The first backend: iptables, ip6tables, ipset and ebtables.

pub mod apply;
pub mod compile;
pub mod plan;
pub mod ruleset;
pub mod simulate;
