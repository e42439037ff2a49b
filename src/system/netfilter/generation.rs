//! The ruleset generation of nftables in this network namespace.
use super::Summary;
use crate::nflog::netlink::attributes;
use crate::system::netlink::{NLM_F_ACK, ask_netfilter};
use anyhow::{Context, Result};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN` (`linux/netfilter/nf_tables.h`).
const GETGEN: u16 = 10 << 8 | 16;
const NFTA_GEN_ID: u16 = 1;

/// The summary of the nftables ruleset. Every transaction on any table changes it.
///
/// # Errors
/// When the kernel has no nftables, or the process lacks `CAP_NET_ADMIN`.
pub fn nftables() -> Result<Summary> {
    let generation: Option<Box<[u8]>> = ask_netfilter(GETGEN, NLM_F_ACK, &[], |generation, body| {
        *generation = attributes(body).find(|(kind, _)| *kind == NFTA_GEN_ID).map(|(_, id)| id.into());
    })?;
    generation.map(Summary).context("the kernel does not report the generation of nftables")
}
