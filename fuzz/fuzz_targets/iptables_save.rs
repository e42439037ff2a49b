//! Any bytes as the output of `iptables-save` and `ip6tables-save`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("iptables_save", data));
