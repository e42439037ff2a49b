//! The neighbours of the node: the ARP and neighbour discovery tables of all interfaces.
use super::{ANSWER_BUFFER, DATAGRAM, NLM_F_DUMP, NLM_F_REQUEST, Socket};
use crate::nflog::netlink::Request;
use crate::nflog::rtnetlink::neighbour::neighbour;
use anyhow::{Context, Result};
use nix::sys::socket::SockProtocol;
use std::net::IpAddr;

const RTM_GETNEIGH: u16 = 30;
/// Bytes of `struct ndmsg`.
const INFO: usize = 12;

/// The IP and MAC addresses of all neighbours that have answered.
///
/// # Errors
/// When the kernel does not answer.
pub fn neighbours() -> Result<Vec<(IpAddr, [u8; 6])>> {
    let socket = Socket::open(SockProtocol::NetlinkRoute, 0, ANSWER_BUFFER)?;
    let mut buffer = vec![0; DATAGRAM];
    let mut all = Vec::new();
    // the family 0 selects IPv4 and IPv6
    let request = Request::new(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, &[0; INFO]);
    // changes during the dump are acceptable
    socket
        .query(1, request, &mut buffer, |message| all.extend(neighbour(message)))
        .context("cannot list the neighbours")?;
    Ok(all)
}
