//! Access to the operating system: files below a root directory, locks, signals, processes, sockets, syslog.
//!
//! The only module that may start processes, open sockets or use `unsafe`.
#![allow(clippy::disallowed_methods, reason = "I/O is done in this module")]

pub mod addresses;
pub mod background;
pub mod bridge_filtering;
pub mod clock;
pub mod files;
pub mod frames;
pub mod lock;
pub mod malloc;
pub mod namespace;
pub mod netfilter;
pub mod netlink;
pub mod process;
pub mod root;
pub mod session;
pub mod signals;
pub mod syslog;
pub mod systemd;
pub mod tools;
pub mod waker;
pub mod worker;
