//! Any bytes as a datagram of packets: each gets exactly one line with a valid head.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("nflog_message", data));
