//! What the firewall knows by heart, and the name databases of the system.

pub mod databases;
pub mod helpers;
pub mod icmp;
pub mod macros;
