//! Any bytes as `corosync.conf`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("corosync_conf", data));
