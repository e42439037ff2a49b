//! Any bytes as a guest's `.fw` file.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("guest_fw", data));
