//! The `pve-firewall` command: compiles the firewall configuration and keeps it live.
use std::process::ExitCode;

fn main() -> ExitCode {
    pve_firewall::cli::run(std::env::args_os())
}
