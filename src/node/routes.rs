//! The node's routes, from `/proc/net/route` and `/proc/net/ipv6_route`.
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `RTF_REJECT`: the node rejects packets to this destination.
const REJECT: u32 = 0x0200;

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination network.
    pub net: IpNet,
    /// The interface; empty if the line names none.
    pub interface: String,
    /// Whether packets are sent to a gateway.
    pub by_gateway: bool,
    /// Whether the node rejects packets to this destination.
    pub refuses: bool,
}

/// The routes of IPv4, in the order of the text: interface, destination, gateway and flags are the first words, the mask is
/// the eighth. Addresses are in the machine's byte order.
pub fn v4(text: &str) -> impl Iterator<Item = Route> {
    text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let address = |index: usize| {
            let number = u32::from_str_radix(words.get(index)?, 16).ok()?;
            Some(Ipv4Addr::from(number.to_ne_bytes()))
        };
        let net = Ipv4Net::with_netmask(address(1)?, address(7)?).ok().map(IpNet::V4)?;
        let by_gateway = words.get(2) != Some(&"00000000");
        Some(Route { net, interface: words[0].to_string(), by_gateway, refuses: refuses(words.get(3)) })
    })
}

/// The routes of IPv6, in the order of the text: destination and prefix length are the first two words, the gateway is the
/// fifth, the flags are the ninth, and the interface is the last.
pub fn v6(text: &str) -> impl Iterator<Item = Route> {
    text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let address = |index: usize| {
            let word = words.get(index).filter(|word| word.len() == 32)?;
            Some(Ipv6Addr::from(u128::from_str_radix(word, 16).ok()?))
        };
        let net = Ipv6Net::new(address(0)?, u8::from_str_radix(words.get(1)?, 16).ok()?).ok().map(IpNet::V6)?;
        let by_gateway = address(4).is_some_and(|gateway| !gateway.is_unspecified());
        let interface = words.get(9).copied().unwrap_or_default().to_string();
        Some(Route { net, interface, by_gateway, refuses: refuses(words.get(8)) })
    })
}

fn refuses(flags: Option<&&str>) -> bool {
    flags.and_then(|flags| u32::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & REJECT != 0)
}

/// The output interface for an address: that of the most specific route that contains it; of several the first.
#[must_use]
pub fn interface_to(routes: &[Route], address: IpAddr) -> Option<&str> {
    let leading = routes.iter().rev().filter(|route| route.net.contains(&address));
    let route = leading.max_by_key(|route| route.net.prefix_len())?;
    (!route.refuses && !route.interface.is_empty()).then_some(route.interface.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        vmbr0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        vmbr1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
        vmbr2\t0000000A\t00000000\t0001\t0\t0\t9\t000000FF\t0\t0\t0\n\
        *\t0000010A\t00000000\t0205\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    const V6: &str = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 00000100 00000001 00000000 00000001    vmbr0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        fe800000000000000000000000000001 00000400 00000001 00000000 00000003    vmbr1\n";

    #[test]
    fn the_longest_route_leads_to_an_address() {
        let routes: Vec<Route> = v4(V4).chain(v6(V6)).collect();
        assert_eq!(
            routes.iter().map(|route| route.by_gateway).collect::<Vec<_>>(),
            [true, false, false, false, false, true]
        );
        for (address, interface) in [
            ("192.0.2.7", Some("vmbr0")),
            ("10.200.0.7", Some("vmbr1")),
            ("10.1.0.7", None),
            ("fd00::7", Some("vmbr0")),
            ("2001:db8::7", Some("vmbr1")),
        ] {
            assert_eq!(interface_to(&routes, address.parse().unwrap()), interface, "{address}");
        }
        assert_eq!(interface_to(&[], "192.0.2.7".parse().unwrap()), None);
    }
}
