//! Summaries of netfilter's state that the kernel gives without listing it: cheap, and different after most changes.
//!
//! - of a legacy table its size, its number of rules and where its built-in chains begin (`IPT_SO_GET_INFO`);
//! - of nftables the generation, a number that every transaction raises (`NFT_MSG_GETGEN`);
//! - of IP sets their headers: type, hash key, capacity, size, number of entries (`IPSET_CMD_LIST`).
mod generation;
mod sets;
mod xtables;

pub use generation::nftables;
pub use sets::sets;
pub use xtables::{ebtables, iptables};

/// A summary. Two that are equal say that probably nothing has changed, two that differ that something has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary(Box<[u8]>);
