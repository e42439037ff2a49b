//! Any bytes as the output of `iptables-save` and `ip6tables-save`.
#![no_main]
mod support;

use pve_firewall::plan::{TableName, read_table};
use support::{plan_with, readable, text};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = text(data);
    plan_with(|live| {
        live.filter.v4 = readable(read_table(&text, TableName::Filter));
        live.raw.v6 = readable(read_table(&text, TableName::Raw));
    });
});
