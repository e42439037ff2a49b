//! Any bytes as a VM's configuration.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::compile_with("nodes/n1/qemu-server/100.conf", data));
