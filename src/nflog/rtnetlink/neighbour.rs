//! Neighbours as listed by rtnetlink(7): the link-layer addresses of IP addresses on the network.
use crate::nflog::netlink::{Message, attributes};
use std::net::IpAddr;

/// `RTM_NEWNEIGH`
const NEW: u16 = 28;
/// Bytes of `struct ndmsg`.
const INFO: usize = 12;
const DESTINATION: u16 = 1;
const LINK_ADDRESS: u16 = 2;
/// `NUD_INCOMPLETE` and `NUD_FAILED`: not resolved.
const UNANSWERED: u16 = 0x01 | 0x20;

/// The IP address and the MAC address of a neighbour that has answered; `None` for any other message.
#[must_use]
pub fn neighbour(message: Message<'_>) -> Option<(IpAddr, [u8; 6])> {
    let (info, rest) = message.body().split_first_chunk::<INFO>().filter(|_| message.kind == NEW)?;
    if u16::from_ne_bytes([info[8], info[9]]) & UNANSWERED != 0 {
        return None;
    }
    let find = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted).map(|(_, content)| content);
    let address = find(DESTINATION)?;
    let v4 = || address.try_into().ok().map(|octets: [u8; 4]| IpAddr::from(octets));
    let v6 = || address.try_into().ok().map(|octets: [u8; 16]| IpAddr::from(octets));
    Some((v4().or_else(v6)?, find(LINK_ADDRESS)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nflog::netlink::{Request, messages};

    fn read(state: u16, address: &[u8], mac: &[u8]) -> Option<(IpAddr, [u8; 6])> {
        let mut info = [2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        info[8..10].copy_from_slice(&state.to_ne_bytes());
        let bytes = Request::new(NEW, 2, 1, &info).with(DESTINATION, address).with(LINK_ADDRESS, mac).bytes();
        messages(&bytes).next().and_then(neighbour)
    }

    #[test]
    fn only_resolved_neighbours_are_returned() {
        let mac = [2, 0, 0, 0, 0, 9];
        let address: IpAddr = "10.0.0.9".parse().unwrap();
        for (state, known) in [(0x02, true), (0x04, true), (0x80, true), (0x01, false), (0x20, false)] {
            assert_eq!(read(state, &[10, 0, 0, 9], &mac).is_some(), known, "{state}");
        }
        assert_eq!(read(0x80, &[10, 0, 0, 9], &mac), Some((address, mac)));
        assert_eq!(read(0x80, &[10, 0, 0, 9], &[]), None);
        let v6: std::net::Ipv6Addr = "fd00::9".parse().unwrap();
        assert_eq!(read(0x02, &v6.octets(), &mac), Some((v6.into(), mac)));
    }
}
