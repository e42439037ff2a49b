//! Any bytes as a datagram of conntrack events: at most one line each.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("conntrack_message", data));
