//! Random configurations of the test bed's node, and packets for them, from a seed.
#![allow(dead_code, reason = "each program uses a part")]
pub mod config;
pub mod packets;
pub mod pools;

use std::collections::BTreeMap;
use std::fmt::Write;

/// The files of a configuration, for messages.
pub fn shown(files: &BTreeMap<String, String>) -> String {
    files.iter().fold(String::new(), |mut text, (path, content)| {
        write!(text, "--- {path}\n{content}").unwrap();
        text
    })
}
