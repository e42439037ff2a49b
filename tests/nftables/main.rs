//! The nftables backend: compiled trees, and updates on the real kernel in network namespaces. Needs root.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "../support/hostile_trees.rs"]
mod hostile_trees;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/nflog.rs"]
mod nflog;
#[path = "../support/nft_trees.rs"]
mod nft_trees;
#[path = "../support/random/mod.rs"]
mod random;
#[path = "../support/ranges.rs"]
mod ranges;
#[path = "../support/rounds.rs"]
mod rounds;
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[path = "../support/trees.rs"]
mod trees;
#[path = "../support/wait.rs"]
mod wait;

mod apply;
mod backends;
mod differential;
mod documented;
mod failsafe;
mod hostile;
mod incremental;
mod json;
mod logs;
mod packets;
mod recorded;
mod replay;
mod rules;
mod scenarios;
