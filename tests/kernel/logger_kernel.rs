//! The logger with the real kernel: logged packets, their lines, and failures.
//!
//! Needs root, netfilter, and the tools of `make deps`. Each test has its own network namespaces.
mod conntrack;
mod files;
mod floods;
mod packets;
mod process;
mod traces;
