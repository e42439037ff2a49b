//! Built-in tables (macros, ICMP names, conntrack helpers).

pub mod helpers;
pub mod icmp;
pub mod macros;
