//! The program `pve-firewall`: compiles the firewall configuration and applies it.
use std::process::ExitCode;

fn main() -> ExitCode {
    pve_firewall::cli::run(std::env::args_os())
}
