//! Addresses of interfaces as rtnetlink(7) lists them.
use crate::nflog::netlink::{Message, attributes};
use std::net::IpAddr;

/// `RTM_NEWADDR`
const NEW: u16 = 20;
/// Bytes of `struct ifaddrmsg`.
const INFO: usize = 8;
/// `IFA_ADDRESS`: of a point-to-point interface the peer's.
const ADDRESS: u16 = 1;
/// `IFA_LOCAL`: the interface's own address; absent in IPv6 unless there is a peer.
const LOCAL: u16 = 2;

/// The index of the interface, its address, and the length of its prefix; `None` for any other message.
#[must_use]
pub fn interface_address(message: Message<'_>) -> Option<(u32, IpAddr, u8)> {
    let (info, rest) = message.body().split_first_chunk::<INFO>().filter(|_| message.kind == NEW)?;
    let find = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted).map(|(_, content)| content);
    let address = find(LOCAL).or_else(|| find(ADDRESS))?;
    let v4 = || address.try_into().ok().map(|octets: [u8; 4]| IpAddr::from(octets));
    let v6 = || address.try_into().ok().map(|octets: [u8; 16]| IpAddr::from(octets));
    Some((u32::from_ne_bytes([info[4], info[5], info[6], info[7]]), v4().or_else(v6)?, info[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nflog::netlink::{Request, messages};

    #[test]
    fn the_own_address_is_returned_and_not_that_of_a_peer() {
        let mut info = [2, 24, 0, 0, 0, 0, 0, 0];
        info[4..].copy_from_slice(&7_u32.to_ne_bytes());
        let read = |request: Request| messages(&request.bytes()).next().and_then(interface_address);
        let peer = Request::new(NEW, 2, 1, &info).with(ADDRESS, &[10, 0, 0, 9]);
        assert_eq!(read(peer.with(LOCAL, &[10, 0, 0, 1])), Some((7, "10.0.0.1".parse().unwrap(), 24)));
        let v6: std::net::Ipv6Addr = "fd00::9".parse().unwrap();
        assert_eq!(read(Request::new(NEW, 2, 1, &info).with(ADDRESS, &v6.octets())), Some((7, v6.into(), 24)));
        assert_eq!(read(Request::new(NEW, 2, 1, &info).with(ADDRESS, &[1, 2])), None);
        assert_eq!(read(Request::new(NEW + 1, 2, 1, &info).with(ADDRESS, &[10, 0, 0, 9])), None);
    }
}
