//! Any bytes as a datagram of conntrack events: each gets at most one line.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("conntrack_message", data));
