//! Any bytes as `.members`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::compile_with(".members", data));
