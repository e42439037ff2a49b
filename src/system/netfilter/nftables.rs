//! Reads nftables over netlink: the generation, and the content of tables.
use super::Summary;
use crate::nflog::netlink::attributes;
use crate::system::netlink::{NLM_F_ACK, NLM_F_DUMP, NetfilterRequests, query_netfilter};
use anyhow::{Context, Result};
use nix::errno::Errno;

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of each type.
const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_GETGEN`
const GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;
/// The size of the buffer for the generation and its acknowledgement, in bytes.
const ANSWER: usize = 1024;

/// Kinds of objects (`linux/netfilter/nf_tables.h`); the number is that of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum NftObjects {
    /// `NFT_MSG_GETTABLE`
    Tables = 1,
    /// `NFT_MSG_GETCHAIN`
    Chains = 4,
    /// `NFT_MSG_GETRULE`
    Rules = 7,
    /// `NFT_MSG_GETSET`
    Sets = 10,
    /// `NFT_MSG_GETSETELEM`
    Elements = 13,
    /// `NFT_MSG_GETOBJ`
    Objects = 19,
}

/// The generation of nftables in this network namespace. Each transaction on any of its tables raises it by one.
///
/// # Errors
/// When the kernel has no nftables, or the process lacks `CAP_NET_ADMIN`.
pub fn nft_generation() -> Result<u32> {
    NftGeneration::default().read()
}

/// Queries the generation of nftables repeatedly over one socket.
#[derive(Debug, Default)]
pub struct NftGeneration(Option<NetfilterRequests>);

impl NftGeneration {
    /// The generation in the network namespace of the first call.
    ///
    /// # Errors
    /// As for [`nft_generation`].
    pub fn read(&mut self) -> Result<u32> {
        // after an error, the next call opens the socket again
        let mut requests = self.0.take().map_or_else(NetfilterRequests::open, Ok)?;
        let id: Option<u32> = requests.query(0, SUBSYSTEM | GETGEN, NLM_F_ACK, &[], &mut [0; ANSWER], |id, body| {
            let found = attributes(body).find(|(kind, _)| *kind == NFTA_GEN_ID);
            *id = found.and_then(|(_, id)| id.try_into().ok()).map(u32::from_be_bytes);
            true
        })?;
        self.0 = Some(requests);
        id.context("the kernel does not report the generation of nftables")
    }
}

/// The summary of the nftables ruleset: its generation.
///
/// # Errors
/// As for [`nft_generation`].
pub fn nftables() -> Result<Summary> {
    nft_generation().map(|generation| Summary(generation.to_ne_bytes().into()))
}

/// Lists objects of an address family (`NFPROTO_…`) and passes the attributes of each to `take`. `of` are attributes that
/// select a table, chain or set, with the types of the objects' own attributes. A table that does not exist counts as empty.
///
/// # Errors
/// When the kernel has no nftables, the process lacks `CAP_NET_ADMIN`, or the objects change all the time.
pub fn nft_list<T: Default>(
    what: NftObjects,
    family: u8,
    of: &[(u16, &str)],
    mut take: impl FnMut(&mut T, &[u8]),
) -> Result<T> {
    nft_list_while(what, family, of, |all, body| {
        take(all, body);
        true
    })
}

/// Like [`nft_list`], until `take` returns that no more objects are needed: tables of other programs may contain millions of
/// them.
///
/// # Errors
/// As for [`nft_list`].
pub fn nft_list_while<T: Default>(
    what: NftObjects,
    family: u8,
    of: &[(u16, &str)],
    take: impl FnMut(&mut T, &[u8]) -> bool,
) -> Result<T> {
    let texts: Vec<(u16, Vec<u8>)> = of.iter().map(|(kind, text)| (*kind, [text.as_bytes(), &[0]].concat())).collect();
    let of: Vec<(u16, &[u8])> = texts.iter().map(|(kind, text)| (*kind, &text[..])).collect();
    match query_netfilter(family, SUBSYSTEM | what as u16, NLM_F_DUMP, &of, take) {
        Err(error) if error.downcast_ref() == Some(&Errno::ENOENT) => Ok(T::default()),
        listed => listed,
    }
}
