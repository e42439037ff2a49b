//! Any bytes as a vnet's `.fw` file.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("vnet_fw", data));
