//! Formats NFLOG packets, conntrack events and traces of nftables from netlink as log lines; decodes messages of rtnetlink.
//!
//! ```text
//! datagram ─▶ netlink ─▶ message ─▶ lines ─┬▶ prefix, time
//!                    ├─▶ conntrack ─▶      └▶ packet (IPv4, IPv6, ARP, protocols)
//!                    └─▶ trace ─▶
//! ```
//!
//! Decoding never fails: a packet with malformed bytes still gets a line, with the fields that could be decoded.
//! Netlink is decoded here instead of by a crate because several hundred thousand lines a second are formatted from
//! borrowed bytes, and because a message with one malformed attribute must still be logged with the others.

pub mod conntrack;
pub mod lines;
mod log_fields;
pub mod message;
pub mod netlink;
mod packet;
pub(crate) mod prefix;
pub mod rtnetlink;
mod text;
pub mod time;
pub mod trace;
