//! Any bytes as `sdn/pve-ipam-state.json`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("ipam_state", data));
