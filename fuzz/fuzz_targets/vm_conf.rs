//! Any bytes as a VM's configuration.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("vm_conf", data));
