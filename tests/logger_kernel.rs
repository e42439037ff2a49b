//! The logger against the kernel: packets in, lines out, and everything that goes wrong between them.
//!
//! Needs root, netfilter, and the tools of `make deps`. Each test has network namespaces of its own.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "logger_kernel/conntrack.rs"]
mod conntrack;
#[path = "logger_kernel/files.rs"]
mod files;
#[path = "support/flood.rs"]
mod flood;
#[path = "logger_kernel/floods.rs"]
mod floods;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/logger.rs"]
mod logger;
#[path = "support/netns.rs"]
mod netns;
#[path = "logger_kernel/packets.rs"]
mod packets;
#[path = "logger_kernel/process.rs"]
mod process;
#[path = "support/wait.rs"]
mod wait;
