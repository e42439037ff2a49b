//! Any bytes as the output of `ipset save`, and of `ipset -t list`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("ipset_save", data));
