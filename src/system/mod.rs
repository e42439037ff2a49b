//! Everything that touches the machine: files under a root, locks, signals, processes, syslog.
//!
//! The only module that may spawn, open sockets or say `unsafe`.
#![allow(clippy::disallowed_methods, reason = "this is the shell: I/O lives here")]

pub mod background;
pub mod clock;
pub mod files;
pub mod lock;
pub mod malloc;
pub mod namespace;
pub mod netfilter;
pub mod netlink;
pub mod process;
pub mod root;
pub mod signals;
pub mod syslog;
pub mod systemd;
pub mod tools;
pub mod waker;
pub mod worker;
