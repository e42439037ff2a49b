//! Any bytes as a container's configuration.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::compile_with("nodes/n1/lxc/200.conf", data));
