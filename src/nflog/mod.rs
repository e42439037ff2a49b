//! Bytes from the kernel in, log lines out: NFLOG packets, conntrack events, link names.
//!
//! ```text
//! datagram ─▶ netlink ─▶ message ─▶ lines ─┬▶ prefix, time
//!                    └─▶ conntrack ─▶      └▶ packet (IPv4, IPv6, ARP, protocols)
//! ```
//!
//! Nothing here fails: whatever the bytes are, a packet gets its line, and nothing beyond the bytes given is read.
//! Netlink is decoded here rather than by a crate because a line is made from borrowed bytes at several hundred
//! thousand a second, and because a message that is malformed in one attribute must still be logged by the others.

pub mod conntrack;
mod fields;
pub mod lines;
pub mod link;
pub mod message;
pub mod neighbour;
pub mod netlink;
mod packet;
pub mod prefix;
mod text;
pub mod time;
