//! The Proxmox VE firewall: configuration in, a live netfilter ruleset out; dropped packets in, log lines out.
//!
//! Data flows one way:
//!
//! ```text
//! /etc/pve files ─▶ config ─┐
//!                           ├─▶ compile ─▶ ruleset ─▶ plan ─▶ apply ─▶ kernel
//! node facts ─────▶ node ───┘                          ▲
//!                                                      └── *-save
//! kernel NFLOG ─▶ logger ─▶ nflog ─▶ pve-firewall.log
//! ```
//!
//! The **core** turns bytes into values and text. It does no I/O, asks no clock and no environment, and logs nothing:
//! the modules `model`, `builtin`, `config`, `node`, `lint`, `nflog`, and of `iptables` all but `apply`, with `parallel` for all of them.
//!
//! The **shell** reads files, runs tools and talks to the kernel: `system` (the only module that spawns,
//! opens sockets or says `unsafe`), and above it `iptables::apply`, `pmxcfs`, `trial`, `daemon`, `logger` and `cli`.
//!
//! Which module may use which is written down in `tests/it/architecture.rs`, and held there.

pub mod builtin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod inputs;
pub mod iptables;
pub mod lint;
pub mod logger;
pub mod model;
pub mod nflog;
pub mod node;
pub mod parallel;
pub mod paths;
pub mod pmxcfs;
pub mod system;
pub mod trial;
