//! Any bytes as a container's configuration.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("container_conf", data));
