//! Any bytes as the node's `host.fw`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("host_fw", data));
