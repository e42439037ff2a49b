//! The logger against the kernel: packets in, lines out, and everything that goes wrong between them.
//!
//! Needs root, netfilter, and the tools of `make deps`. Each test has network namespaces of its own.
mod conntrack;
mod files;
mod floods;
mod packets;
mod process;
