//! The addresses of this network namespace.
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The addresses of all interfaces that the kernel returns.
#[must_use]
pub fn own() -> BTreeSet<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| interface.address);
    let ip = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    addresses.filter_map(ip).collect()
}

/// The networks of the addresses of all interfaces, each with the name of its interface.
#[must_use]
pub fn networks() -> Vec<(String, IpNet)> {
    let ip = |address: &SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    let network = |interface: nix::ifaddrs::InterfaceAddress| {
        let (address, mask) = (ip(&interface.address?)?, ip(&interface.netmask?)?);
        Some((interface.interface_name, IpNet::with_netmask(address, mask).ok()?.trunc()))
    };
    getifaddrs().into_iter().flatten().filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_of_loopback_is_among_them() {
        assert!(networks().iter().any(|(name, net)| name == "lo" && net.to_string() == "127.0.0.0/8"));
    }

    #[test]
    fn loopback_is_among_them() {
        assert!(own().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
