//! The generation of nftables in this network namespace.
use super::Summary;
use crate::nflog::netlink::attributes;
use crate::system::netlink::{NLM_F_ACK, ask_netfilter};
use anyhow::{Context, Result};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN` (`linux/netfilter/nf_tables.h`).
const GETGEN: u16 = 10 << 8 | 16;
const NFTA_GEN_ID: u16 = 1;

/// The summary of all of nftables. Every transaction on any of its tables makes it another one.
///
/// # Errors
/// When the kernel has no nftables, or the process not the right to ask (`CAP_NET_ADMIN`).
pub fn nftables() -> Result<Summary> {
    let told: Option<Box<[u8]>> = ask_netfilter(GETGEN, NLM_F_ACK, &[], |told, body| {
        *told = attributes(body).find(|(kind, _)| *kind == NFTA_GEN_ID).map(|(_, id)| id.into());
    })?;
    told.map(Summary).context("the kernel does not tell the generation of nftables")
}
