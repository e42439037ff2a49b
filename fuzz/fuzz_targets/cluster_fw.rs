//! Any bytes as the cluster's `cluster.fw`.
#![no_main]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::run("cluster_fw", data));
