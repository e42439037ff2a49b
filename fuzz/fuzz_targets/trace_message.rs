//! Any bytes as a datagram of traces of nftables: each gets exactly one line with a valid head.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("trace_message", data));
