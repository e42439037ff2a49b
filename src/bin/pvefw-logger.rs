//! The program `pvefw-logger`: writes packets logged by NFLOG rules to the firewall log.
use clap::Parser;
use pve_firewall::logger::{self, args::Args};
use std::process::ExitCode;

fn main() -> ExitCode {
    match logger::run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {error:#}");
            ExitCode::FAILURE
        }
    }
}
