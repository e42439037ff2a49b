//! The Proxmox VE firewall: compiles configuration files to netfilter rules, and logs packets.
//!
//! Data flow:
//!
//! ```text
//! /etc/pve files ─▶ config ─┐
//!                           ├─▶ compile ─▶ ruleset ─▶ plan ─▶ apply ─▶ kernel
//! node facts ─────▶ node ───┘                          ▲
//!                                                      └── *-save
//! kernel NFLOG ─▶ logger ─▶ nflog ─▶ pve-firewall.log
//! ```
//!
//! The **core** converts bytes to values and text. It does no I/O and no logging, and uses neither clock nor environment:
//! `model`, `builtin`, `config`, `node`, `lint`, `connections`, `health`, `simulate`, `nflog`, and of `iptables` and `nftables`
//! all modules but `apply`, `live` and `backend`.
//!
//! The other modules do I/O: `system` (the only module that starts processes, opens sockets or uses `unsafe`), and with its
//! functions `iptables::apply`, `nftables::apply`, `nftables::live`, `backend`, `settings`, `pmxcfs`, `facts`, `trial`, `daemon`, `logger`
//! and `cli`.
//!
//! `tests/it/architecture.rs` lists and tests which module may use which.

pub mod backend;
pub mod builtin;
pub mod cli;
pub mod config;
pub(crate) mod connections;
pub mod daemon;
pub mod facts;
pub mod health;
pub mod inputs;
pub mod iptables;
pub mod lint;
pub(crate) mod listing;
pub mod logger;
pub mod model;
pub mod nflog;
pub mod nftables;
pub mod node;
pub(crate) mod parallel;
pub(crate) mod paths;
pub mod pmxcfs;
pub(crate) mod settings;
pub mod simulate;
pub mod system;
pub(crate) mod trial;
