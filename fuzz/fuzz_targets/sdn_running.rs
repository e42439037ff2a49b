//! Any bytes as `sdn/.running-config`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("sdn_running", data));
