//! The program `proxmox-firewall`: enforces the firewall configuration with nftables.
use std::process::ExitCode;

fn main() -> ExitCode {
    pve_firewall::cli::proxmox::run(std::env::args_os())
}
