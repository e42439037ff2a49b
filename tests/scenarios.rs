//! The promises of the firewall's manual, shown by packets: the real daemon keeps a configuration live on a node of network
//! namespaces, and packets arrive there or do not.
//!
//! Needs root, netfilter, and the tools of `make deps`. Each test has namespaces of its own.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "support/logger.rs"]
mod logger;
#[path = "support/netns.rs"]
mod netns;
mod testbed;
#[path = "support/wait.rs"]
mod wait;

#[path = "scenarios/connections.rs"]
mod connections;
#[path = "scenarios/filters.rs"]
mod filters;
#[path = "scenarios/floods.rs"]
mod floods;
#[path = "scenarios/ftp.rs"]
mod ftp;
#[path = "scenarios/guest.rs"]
mod guest;
#[path = "scenarios/host.rs"]
mod host;
#[path = "scenarios/ips.rs"]
mod ips;
#[path = "scenarios/rules.rs"]
mod rules;
#[path = "scenarios/site.rs"]
mod site;
#[path = "scenarios/unlogged.rs"]
mod unlogged;
