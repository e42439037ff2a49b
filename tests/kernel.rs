//! Applying rulesets with the real tools, in network namespaces.
//!
//! Needs root, netfilter, and the tools of `make deps`. Each test has namespaces of its own.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "kernel/apply.rs"]
mod apply;
#[path = "support/arbitrary.rs"]
mod arbitrary;
#[path = "kernel/trees.rs"]
mod compiled_trees;
#[path = "kernel/evidence.rs"]
mod evidence;
#[path = "kernel/host.rs"]
mod host;
#[path = "support/netns.rs"]
mod netns;
#[path = "support/rulesets.rs"]
mod rulesets;
#[path = "support/trees.rs"]
mod trees;
