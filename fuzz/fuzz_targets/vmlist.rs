//! Any bytes as `.vmlist`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("vmlist", data));
