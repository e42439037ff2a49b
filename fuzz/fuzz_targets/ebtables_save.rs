//! Any bytes as the output of `ebtables-save`, and of `ebtables -L`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("ebtables_save", data));
