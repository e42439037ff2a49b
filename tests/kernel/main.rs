//! Tests with the real kernel and tools.
//!
//! Needs root, netfilter, FUSE, and the tools of `make deps`. Each test has its own namespaces.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "../support/arbitrary.rs"]
mod arbitrary;
#[path = "../support/flood.rs"]
mod flood;
#[path = "../support/frames.rs"]
mod frames;
#[path = "../support/fuse.rs"]
mod fuse;
#[path = "../support/generated.rs"]
mod generated;
#[path = "../support/host.rs"]
mod host;
#[path = "../support/hostile_trees.rs"]
mod hostile_trees;
#[path = "../support/logger.rs"]
mod logger;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/nft_trees.rs"]
mod nft_trees;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/packets.rs"]
mod packets;
#[path = "../support/paused_tools.rs"]
mod paused_tools;
#[path = "../support/random/mod.rs"]
mod random;
#[path = "../support/ranges.rs"]
mod ranges;
#[path = "../support/rounds.rs"]
mod rounds;
#[path = "../support/rulesets.rs"]
mod rulesets;
#[path = "../support/strace.rs"]
mod strace;
#[path = "../support/testbed/mod.rs"]
mod testbed;
#[path = "../support/trees.rs"]
mod trees;
#[path = "../support/wait.rs"]
mod wait;

mod apply;
mod boot;
mod cli;
mod cluster_fs;
mod compiled_trees;
mod daemon;
mod diff;
mod differential;
mod evidence;
mod fake_clock;
mod fuse_mounts;
mod hand_over;
mod health;
mod hostile;
mod interruptions;
mod killed;
mod logger_kernel;
mod logging;
mod processes;
mod reader;
mod scale;
mod scenarios;
mod tour;
mod trials;
