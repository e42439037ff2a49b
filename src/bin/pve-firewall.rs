//! The `pve-firewall` command: compiles the firewall configuration and keeps it live.
fn main() {}
