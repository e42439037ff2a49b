//! The `pvefw-logger` command: writes the packets that NFLOG rules report to the firewall log.
fn main() {}
