//! The local network: the route that contains the node's address.
use super::routes::{self, Route};
use crate::inputs::{Facts, InterfaceAddress};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// The network of an address of the node: of the routes without a gateway that contain it and use the interface that has
/// it, the most specific one, else the address with its own prefix. Routes with short prefixes, such as the two halves of a
/// VPN's default route, are not used. An IPv6 network is formatted as in `/proc/net/ipv6_route`, in eight groups of four digits.
#[must_use]
pub fn detect(address: IpAddr, facts: &Facts) -> Option<String> {
    let own = facts.addresses.iter().filter(|own| own.net.addr() == address && own.interface != LOOPBACK);
    let own: Vec<&InterfaceAddress> = own.collect();
    match address {
        IpAddr::V4(_) => network(address, routes::v4(&facts.routes_v4), &own, MIN_PREFIX_V4).map(|net| net.to_string()),
        IpAddr::V6(_) => {
            network(address, routes::v6(&facts.routes_v6), &own, MIN_PREFIX_V6).map(|net| spelled_out(&net))
        }
    }
}

/// The loopback interface, whose routes and addresses are not used.
const LOOPBACK: &str = "lo";

/// The shortest prefix lengths of a local network.
const MIN_PREFIX_V4: u8 = 8;
const MIN_PREFIX_V6: u8 = 16;

/// The most specific network that contains the address; of several the first. Host routes are not used.
fn network(
    address: IpAddr,
    routes: impl Iterator<Item = Route>,
    own: &[&InterfaceAddress],
    shortest: u8,
) -> Option<IpNet> {
    let leads = |route: &Route| {
        let Route { net, interface, by_gateway, refuses } = route;
        let is_own = own.is_empty() || own.iter().any(|own| own.interface == *interface);
        is_own
            && !by_gateway
            && !refuses
            && interface != LOOPBACK
            && net.prefix_len() >= shortest
            && net.contains(&address)
    };
    let nets: Vec<IpNet> = routes.filter(leads).map(|route| route.net).collect();
    let specific = |net: &&IpNet| (net.prefix_len() < net.max_prefix_len(), net.prefix_len());
    let by_address = own.iter().map(|own| own.net.trunc()).find(|net| net.prefix_len() >= shortest);
    nets.iter().rev().max_by_key(specific).copied().or(by_address)
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

    fn found(address: &str, routes_v4: &str, routes_v6: &str) -> Option<String> {
        let (routes_v4, routes_v6) = (routes_v4.to_string(), routes_v6.to_string());
        detect(address.parse().unwrap(), &Facts { routes_v4, routes_v6, ..Facts::default() })
    }

    #[test]
    fn the_network_is_that_of_the_interface_with_the_address() {
        let found = |address: &str, addresses: &[(&str, &str)], routes: &[String]| {
            let addresses = addresses.iter().map(|(interface, net)| InterfaceAddress {
                interface: (*interface).to_string(),
                net: net.parse().unwrap(),
            });
            let facts = Facts { routes_v4: routes.concat(), addresses: addresses.collect(), ..Facts::default() };
            detect(address.parse().unwrap(), &facts)
        };
        let own = route("vmbr0", "10.1.1.0/24", "0.0.0.0", 1);
        let tunnel = route("tun0", "10.1.1.0/26", "0.0.0.0", 1);
        let vmbr0 = ("vmbr0", "10.1.1.5/24");
        let both = [own.clone(), tunnel.clone()];
        assert_eq!(found("10.1.1.5", &[vmbr0], &both).as_deref(), Some("10.1.1.0/24"));
        assert_eq!(found("10.1.1.5", &[("tun0", "10.1.1.5/32"), vmbr0], &both).as_deref(), Some("10.1.1.0/26"));
        // without a route, such as with 'noprefixroute', the prefix of the address is used
        assert_eq!(found("10.1.1.5", &[vmbr0], &[tunnel]).as_deref(), Some("10.1.1.0/24"));
        assert_eq!(
            found("10.1.1.5", &[vmbr0], &[route("vmbr0", "10.0.0.0/8", "10.1.1.1", 3)]).as_deref(),
            Some("10.1.1.0/24")
        );
        assert_eq!(
            found("fd00::5", &[("vmbr0", "fd00::5/64")], &[]).as_deref(),
            Some("fd00:0000:0000:0000:0000:0000:0000:0000/64")
        );
        for (address, net) in [("10.1.1.5", "10.1.1.5/7"), ("fd00::5", "fd00::5/15"), ("10.1.1.5", "10.1.1.6/24")] {
            assert_eq!(found(address, &[("vmbr0", net)], &[]), None, "{net}");
        }
        // an address of the loopback interface is in the network of the interface that has a route for it
        assert_eq!(found("10.1.1.5", &[("lo", "10.1.1.5/32")], &[own]).as_deref(), Some("10.1.1.0/24"));
        assert_eq!(found("10.1.1.5", &[("lo", "10.1.1.5/32")], &[]), None);
    }

    #[test]
    fn networks_without_a_gateway_have_broadcasts() {
        let found: Vec<_> = broadcasts(V4).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.255.255.255", "127.255.255.255", "192.168.15.255"]);
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
            assert_eq!(found(address, V4, V6).as_deref(), network, "{address}");
        }
    }

    /// A line of `/proc/net/route`.
    fn route(interface: &str, net: &str, gateway: &str, flags: u16) -> String {
        let hex = |address: Ipv4Addr| format!("{:08X}", u32::from_ne_bytes(address.octets()));
        let net: ipnet::Ipv4Net = net.parse().unwrap();
        let gateway = hex(gateway.parse().unwrap());
        format!("{interface} {} {gateway} {flags:04X} 0 0 0 {} 0 0 0\n", hex(net.addr()), hex(net.netmask()))
    }

    #[test]
    fn wide_routes_and_those_by_gateways_are_not_local() {
        let own = route("vmbr0", "192.168.1.0/24", "0.0.0.0", 1);
        for other in [
            route("tun0", "128.0.0.0/1", "0.0.0.0", 1),
            route("tun0", "192.0.0.0/2", "10.8.0.1", 3),
            route("vmbr0", "192.0.0.0/7", "0.0.0.0", 1),
            route("vmbr0", "192.168.1.0/28", "192.168.1.1", 3),
            route("*", "192.168.1.0/26", "0.0.0.0", 0x0200),
            route("vmbr1", "192.0.0.0/8", "0.0.0.0", 1),
            route("vmbr1", "192.168.1.10/32", "0.0.0.0", 5),
            route("lo", "192.168.1.0/25", "0.0.0.0", 1),
        ] {
            let address = "192.168.1.10";
            for text in [format!("{own}{other}"), format!("{other}{own}")] {
                assert_eq!(found(address, &text, "").as_deref(), Some("192.168.1.0/24"), "{text}");
            }
        }
        let address = "10.1.1.5";
        let wide = route("vmbr0", "10.0.0.0/8", "10.1.1.1", 3);
        assert_eq!(found(address, &wide, ""), None);
        assert_eq!(found(address, &route("vmbr0", "10.0.0.0/8", "0.0.0.0", 1), "").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(found(address, &route("vmbr0", "10.1.1.5/32", "0.0.0.0", 5), "").as_deref(), Some("10.1.1.5/32"));
    }

    #[test]
    fn in_ipv6_the_address_itself_and_wide_routes_are_not_local() {
        let route = |net: &str, prefix: u8, gateway: &str, flags: &str, interface: &str| {
            let digits = |text: &str| format!("{:032x}", u128::from(text.parse::<std::net::Ipv6Addr>().unwrap()));
            let none = "0".repeat(32);
            format!(
                "{} {prefix:02x} {none} 00 {} 00000100 00000001 0 {flags} {interface}\n",
                digits(net),
                digits(gateway)
            )
        };
        let own = route("2001:db8:1::", 64, "::", "00000001", "vmbr0");
        for other in [
            route("2001:db8:1::5", 128, "::", "80200001", "lo"),
            route("2000::", 3, "::", "00000001", "tun0"),
            route("2001:db8:1::", 80, "fe80::1", "00000003", "vmbr0"),
            route("2001:db8:1::", 96, "::", "00200200", "lo"),
        ] {
            let found = found("2001:db8:1::5", "", &format!("{other}{own}"));
            assert_eq!(found.as_deref(), Some("2001:0db8:0001:0000:0000:0000:0000:0000/64"), "{other}");
        }
    }
}
