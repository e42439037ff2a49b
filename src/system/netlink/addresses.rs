//! The addresses of this network namespace, each with its interface.
use super::{ANSWER_BUFFER, DATAGRAM, NLM_F_DUMP, NLM_F_REQUEST, Socket};
use crate::nflog::netlink::Request;
use crate::nflog::rtnetlink::address::interface_address;
use anyhow::{Context, Result};
use nix::net::if_::if_indextoname;
use nix::sys::socket::SockProtocol;
use std::net::IpAddr;

const RTM_GETADDR: u16 = 22;
/// Bytes of `struct ifaddrmsg`.
const INFO: usize = 8;

/// The name of the interface, its address, and the length of its prefix, for all addresses. Interfaces without addresses, such
/// as those of guests, are not listed.
///
/// # Errors
/// When the kernel does not answer.
pub fn interface_addresses() -> Result<Vec<(String, IpAddr, u8)>> {
    let socket = Socket::open(SockProtocol::NetlinkRoute, 0, ANSWER_BUFFER)?;
    let mut buffer = vec![0; DATAGRAM];
    let mut all = Vec::new();
    // the family 0 selects IPv4 and IPv6
    let request = Request::new(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, &[0; INFO]);
    socket
        .query(1, request, &mut buffer, |message| all.extend(interface_address(message)))
        .context("cannot list the addresses")?;
    let name = |index| if_indextoname(index).ok()?.into_string().ok();
    Ok(all.into_iter().filter_map(|(index, address, length)| Some((name(index)?, address, length))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_network() {
        let all = interface_addresses().unwrap();
        assert!(all.contains(&("lo".to_string(), IpAddr::from([127, 0, 0, 1]), 8)), "{all:?}");
    }
}
