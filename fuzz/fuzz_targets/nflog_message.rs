//! Any bytes as a datagram of packets: one line each, with its head and nothing that could be a second line.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("nflog_message", data));
