//! Access to the operating system: files below a root directory, locks, signals, processes, sockets, syslog.
//!
//! The only module that may start processes, open sockets or use `unsafe`.
#![allow(clippy::disallowed_methods, reason = "I/O is done in this module")]

pub(crate) mod addresses;
pub(crate) mod background;
pub(crate) mod bridge_filtering;
pub(crate) mod clock;
pub(crate) mod encapsulated_frames;
pub(crate) mod files;
pub(crate) mod lock;
pub(crate) mod login_session;
pub(crate) mod malloc;
pub(crate) mod namespace;
pub mod netfilter;
pub(crate) mod netlink;
pub mod pid_file;
pub mod process;
pub mod root_directory;
pub(crate) mod signals;
pub(crate) mod syslog;
pub(crate) mod systemd;
pub(crate) mod tools;
pub(crate) mod waker;
pub(crate) mod worker_process;
