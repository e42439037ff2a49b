//! The local network: the route that contains the node's address.
use super::routes;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// The network of the node's address, from `/proc/net/route` or `/proc/net/ipv6_route`: the first route that contains it,
/// except default routes. An IPv6 network is formatted as in that file, in eight groups of four digits.
#[must_use]
pub fn detect(address: IpAddr, routes_v4: &str, routes_v6: &str) -> Option<String> {
    let found = |net: &IpNet| net.prefix_len() > 0 && net.contains(&address);
    match address {
        IpAddr::V4(_) => routes::v4(routes_v4).map(|route| route.net).find(found).map(|net| net.to_string()),
        IpAddr::V6(_) => routes::v6(routes_v6).map(|route| route.net).find(found).map(|net| spelled_out(&net)),
    }
}

/// The broadcast addresses of the node's networks: of the routes in `/proc/net/route` without a gateway, and of the loopback
/// network.
#[must_use]
pub fn broadcasts(routes_v4: &str) -> BTreeSet<Ipv4Addr> {
    let networks = routes::v4(routes_v4).filter(|route| !route.by_gateway).map(|route| route.net);
    let broadcast = |net: IpNet| match net {
        IpNet::V4(net) if (1..=30).contains(&net.prefix_len()) => Some(net.broadcast()),
        _ => None,
    };
    networks.filter_map(broadcast).chain([Ipv4Addr::new(127, 255, 255, 255)]).collect()
}

fn spelled_out(net: &IpNet) -> String {
    let IpAddr::V6(address) = net.addr() else { return net.to_string() };
    let mut text = String::new();
    for (index, group) in address.segments().iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        // writing to a String never fails
        let _ = write!(text, "{colon}{group:04x}");
    }
    let _ = write!(text, "/{}", net.prefix_len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        vmbr0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        vmbr1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
        vmbr0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n";
    const V6: &str = "00000000000000000000000000000000 00 0 0 0 0 0 0 0 eth0\n\
        20010db8000100000000000000000000 40 00000000000000000000000000000000 00 0 00000100 1 0 00000001 vmbr0\n\
        nonsense\n";

    #[test]
    fn networks_without_a_gateway_have_broadcasts() {
        let told: Vec<_> = broadcasts(V4).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["10.255.255.255", "127.255.255.255", "192.168.15.255"]);
    }

    #[test]
    fn the_first_network_that_contains_the_address() {
        for (address, network) in [
            ("192.168.2.100", Some("192.168.0.0/20")),
            ("10.9.9.9", Some("10.0.0.0/8")),
            ("172.16.0.1", None),
            ("2001:db8:1::5", Some("2001:0db8:0001:0000:0000:0000:0000:0000/64")),
            ("2001:db8:2::5", None),
        ] {
            assert_eq!(detect(address.parse().unwrap(), V4, V6).as_deref(), network, "{address}");
        }
    }
}
