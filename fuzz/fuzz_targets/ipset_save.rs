//! Any bytes as the output of `ipset save`, and of `ipset -t list`.
#![no_main]
mod support;

use pve_firewall::plan::{read_sets, sets_in_use};
use support::{plan_with, text};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = text(data);
    plan_with(|live| live.sets = Ok(read_sets(&text)));
    sets_in_use(&text);
});
