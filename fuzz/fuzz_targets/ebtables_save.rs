//! Any bytes as the output of `ebtables-save`, and of `ebtables -L`.
#![no_main]
mod support;

use pve_firewall::plan::{BridgeFormat, read_bridge};
use support::{plan_with, text};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = text(data);
    for format in [BridgeFormat::Save, BridgeFormat::List] {
        plan_with(|live| live.bridge = Ok(read_bridge(&text, format)));
    }
});
