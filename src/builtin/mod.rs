//! Built-in tables (macros, ICMP names, conntrack helpers) and the name databases in /etc.

pub mod databases;
pub mod helpers;
pub mod icmp;
pub mod macros;
