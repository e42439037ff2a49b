//! The headers of a traced packet, joined to the beginning of the packet.
use crate::nflog::packet::{NetworkProtocol, has_extension_header};

/// Most bytes that the kernel copies of the network header and of the transport header (`NFT_TRACETYPE_NETWORK_HSIZE` and
/// `NFT_TRACETYPE_TRANSPORT_HSIZE` in `net/netfilter/nf_tables_trace.c`).
const NETWORK: usize = 40;
const TRANSPORT: usize = 20;

/// The beginning of a packet, from its network header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JoinedHeaders {
    pub bytes: Vec<u8>,
    /// Whether the packet may have more bytes.
    pub cut: bool,
}

impl JoinedHeaders {
    /// Joins the headers of a packet. The kernel leaves the transport header out if it did not find one; then `network` has the
    /// first bytes of the packet.
    pub fn new(protocol: Option<NetworkProtocol>, network: &[u8], transport: Option<&[u8]>) -> Self {
        let mut bytes = network.to_vec();
        let cut = network.len() >= NETWORK;
        let mut transport = transport;
        match protocol {
            Some(NetworkProtocol::Ipv4) => {
                let length = usize::from(network.first().map_or(0, |first| first & 0x0f)) * 4;
                // options that the kernel did not copy: no field shows them
                if cut && bytes.len() < length {
                    bytes.resize(length, 0);
                }
            }
            // the number of the transport protocol is in a header that the kernel did not copy
            Some(NetworkProtocol::Ipv6) if has_extension_header(network) => transport = None,
            _ => {}
        }
        let Some(transport) = transport else { return JoinedHeaders { bytes, cut } };
        bytes.extend(transport);
        JoinedHeaders { bytes, cut: transport.len() >= TRANSPORT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(protocol: NetworkProtocol, network: &[u8], transport: Option<&[u8]>) -> (Vec<u8>, bool) {
        let JoinedHeaders { bytes, cut } = JoinedHeaders::new(Some(protocol), network, transport);
        (bytes, cut)
    }

    #[test]
    fn options_that_were_not_copied_are_filled() {
        let header = |first: u8, length: usize| [vec![first], vec![1; length - 1]].concat();
        let plain = header(0x45, 20);
        assert_eq!(joined(NetworkProtocol::Ipv4, &plain, Some(&[9; 8])), ([&plain[..], &[9; 8]].concat(), false));
        assert_eq!(joined(NetworkProtocol::Ipv4, &plain, Some(&[9; 20])), ([&plain[..], &[9; 20]].concat(), true));
        let longest = header(0x4f, 40);
        let filled = [&longest[..], &[0; 20], &[9; 8]].concat();
        assert_eq!(joined(NetworkProtocol::Ipv4, &longest, Some(&[9; 8])), (filled, false));
        // the packet ends in its header
        let short = header(0x4f, 39);
        assert_eq!(joined(NetworkProtocol::Ipv4, &short, None), (short, false));
    }

    #[test]
    fn the_transport_header_behind_an_extension_header_is_left_out() {
        let header = |next: u8| [&[0x60, 0, 0, 0, 0, 0, next, 64][..], &[1; 32]].concat();
        for (next, with_transport) in [(17, true), (58, true), (0, false), (43, false), (44, false), (60, false)] {
            let network = header(next);
            let (bytes, cut) = joined(NetworkProtocol::Ipv6, &network, Some(&[9; 8]));
            assert_eq!((bytes.len(), cut), if with_transport { (48, false) } else { (40, true) }, "{next}");
        }
    }

    #[test]
    fn a_packet_without_a_transport_header_may_be_longer() {
        assert!(!JoinedHeaders::new(None, &[0; 39], None).cut);
        assert!(JoinedHeaders::new(None, &[0; 40], None).cut);
    }
}
