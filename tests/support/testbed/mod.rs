//! A node with bridges, guests and an external host, in network namespaces that are removed on drop.
//!
//! ```text
//! outside: eth0 ── eno1 ─ vmbr0 ─ fwpr100p0 = fwln100i0 ─ fwbr100i0 ─ tap100i0 ── eth0 of guest 100
//!                           ├──── (the same for 101 and the container 200)
//!                           └──── tap900i0 ── eth0 of guest 900, which has no firewall
//! outside: eth1 ── eno2 ─ vmbr1 ─ fwpr100p1 = fwln100i1 ─ fwbr100i1 ─ tap100i1 ── eth1 of guest 100
//! ```
//!
//! With [`TestBed::without_firewall_bridges`], devices are ports of their bridges, as Proxmox VE attaches them for the nftables
//! backend.
//!
//! Only the node has addresses until [`TestBed::assign_addresses`] adds them to the others. So only the firewall and the node
//! reply to probes.
#![allow(dead_code, reason = "each program uses a part")]
pub mod frame;
pub mod probe;
pub mod wire;

use crate::netns::Netns;
use pve_firewall::iptables::ruleset::MacAddr;
use pve_firewall::iptables::simulate::{End, GuestPort};
use pve_firewall::model::guest::GuestDevice;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// A device of a guest.
pub struct Device {
    pub vmid: u32,
    pub index: u8,
    pub container: bool,
    pub bridge: usize,
    pub firewalled: bool,
}

const fn device(vmid: u32, index: u8, container: bool, bridge: usize, firewalled: bool) -> Device {
    Device { vmid, index, container, bridge, firewalled }
}

/// The guests' devices.
pub const DEVICES: [Device; 5] = [
    device(100, 0, false, 0, true),
    device(100, 1, false, 1, true),
    device(101, 0, false, 0, true),
    device(200, 0, true, 0, true),
    device(900, 0, false, 0, false),
];

/// The name of the node.
pub const NODE: &str = "n1";

/// Source or destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// The node.
    Host,
    /// The external host at the uplink of vmbr0.
    Outside,
    /// One of [`DEVICES`].
    Guest(usize),
}

pub const VM100: Endpoint = Endpoint::Guest(0);
pub const VM100_NET1: Endpoint = Endpoint::Guest(1);
pub const VM101: Endpoint = Endpoint::Guest(2);
pub const CT200: Endpoint = Endpoint::Guest(3);
pub const VM900: Endpoint = Endpoint::Guest(4);

impl Device {
    pub fn name(&self) -> String {
        format!("{}{}i{}", if self.container { "veth" } else { "tap" }, self.vmid, self.index)
    }

    pub fn mac(&self) -> MacAddr {
        let [high, low] = u16::try_from(self.vmid).unwrap().to_be_bytes();
        MacAddr([0xbc, 0x24, 0x11, high, low, self.index])
    }

    fn host_part(&self) -> u32 {
        self.vmid % 250
    }

    /// Its `netN:` line in the guest's configuration.
    pub fn conf(&self) -> String {
        let Device { index, bridge, .. } = self;
        let mac = text(self.mac());
        let model = if self.container { format!("name=eth{index},hwaddr={mac}") } else { format!("virtio={mac}") };
        let address = if self.container { format!(",ip={}/24", v4(self)) } else { String::new() };
        format!("net{index}: {model},bridge=vmbr{bridge},firewall={}{address}\n", u8::from(self.firewalled))
    }
}

/// The configuration file of a guest, with its path.
pub fn conf(vmid: u32, container: bool) -> (String, String) {
    let directory = if container { "lxc" } else { "qemu-server" };
    let text = DEVICES.iter().filter(|device| device.vmid == vmid).map(Device::conf).collect();
    (format!("nodes/{NODE}/{directory}/{vmid}.conf"), text)
}

/// The configuration files of all guests, with their paths.
pub fn confs() -> impl Iterator<Item = (String, String)> {
    let guests: BTreeSet<_> = DEVICES.iter().map(|device| (device.vmid, device.container)).collect();
    guests.into_iter().map(|(vmid, container)| conf(vmid, container))
}

fn v4(device: &Device) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, u8::try_from(device.bridge).unwrap(), u8::try_from(device.host_part()).unwrap())
}

/// A MAC address in the format of configuration files.
pub fn text(mac: MacAddr) -> String {
    mac.0.map(|octet| format!("{octet:02X}")).join(":")
}

impl Endpoint {
    pub const ALL: [Endpoint; 7] = [Endpoint::Host, Endpoint::Outside, VM100, VM100_NET1, VM101, CT200, VM900];

    /// The number of its bridge.
    pub fn bridge(self) -> usize {
        match self {
            Endpoint::Host | Endpoint::Outside => 0,
            Endpoint::Guest(index) => DEVICES[index].bridge,
        }
    }

    pub fn mac(self) -> MacAddr {
        match self {
            Endpoint::Host => MacAddr([2, 0, 0, 0, 0, 1]),
            Endpoint::Outside => MacAddr([2, 0, 0, 0, 0, 0xfe]),
            Endpoint::Guest(index) => DEVICES[index].mac(),
        }
    }

    /// Its first addresses.
    pub fn addresses(self) -> [IpAddr; 2] {
        let (v4, last) = match self {
            Endpoint::Host => (Ipv4Addr::new(10, 0, 0, 1), 1),
            Endpoint::Outside => (Ipv4Addr::new(10, 0, 0, 254), 254),
            Endpoint::Guest(index) => (v4(&DEVICES[index]), DEVICES[index].host_part()),
        };
        [v4.into(), format!("fd00:0:0:{}::{last}", self.bridge()).parse().unwrap()]
    }

    /// Further addresses in the node's neighbour tables.
    pub fn other_addresses(self) -> Vec<IpAddr> {
        let texts: &[&str] = match self {
            Endpoint::Outside => &["10.0.0.50", "10.0.0.51", "fd00::50"],
            _ => &[],
        };
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    pub fn end(self) -> End {
        match self {
            Endpoint::Host => End::Host,
            Endpoint::Outside => End::Port { bridge: "vmbr0".into(), port: "eno1".into() },
            Endpoint::Guest(index) => {
                let device = &DEVICES[index];
                End::Guest(GuestPort {
                    device: GuestDevice::parse(&device.name()).expect("a device of a guest"),
                    bridge: format!("vmbr{}", device.bridge),
                    firewalled: device.firewalled,
                })
            }
        }
    }

    /// Its interface in its namespace.
    fn interface(self) -> String {
        match self {
            Endpoint::Host => "vmbr0".into(),
            Endpoint::Outside => "eth0".into(),
            Endpoint::Guest(index) => format!("eth{}", DEVICES[index].index),
        }
    }
}

/// The broadcast addresses of the node's networks.
pub fn broadcasts() -> BTreeSet<Ipv4Addr> {
    ["10.0.0.255", "10.0.1.255", "127.255.255.255"].iter().map(|text| text.parse().unwrap()).collect()
}

/// The namespaces.
pub struct TestBed {
    firewall_bridges: bool,
    pub node: Netns,
    pub outside: Netns,
    pub guests: BTreeMap<u32, Netns>,
}

/// Prevents a namespace from sending unsolicited packets.
const QUIET: &str = "sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1";
/// The node forwards packets and has IPv6, but sends no unsolicited packets; it replies to every rejected packet.
const NODE_SETTINGS: &str = "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.autoconf=0 \
    net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.router_solicitations=0 \
    net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000 \
    net.ipv4.icmp_msgs_burst=100000 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
    net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1";

impl TestBed {
    /// Creates the namespaces; their names begin with `name`.
    pub fn new(name: &str) -> Self {
        TestBed::create(name, true)
    }

    /// The same without firewall bridges. Bridges do not pass packets to iptables either.
    pub fn without_firewall_bridges(name: &str) -> Self {
        let testbed = TestBed::create(name, false);
        testbed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0");
        testbed
    }

    fn create(name: &str, firewall_bridges: bool) -> Self {
        let quiet = |part: &str| {
            let netns = Netns::new(&format!("{name}{part}"));
            netns.exec(QUIET);
            netns
        };
        let node = Netns::new(&format!("{name}-node"));
        let outside = quiet("-outside");
        let vmids: BTreeSet<u32> = DEVICES.iter().map(|device| device.vmid).collect();
        let guests = vmids.into_iter().map(|vmid| (vmid, quiet(&format!("-{vmid}")))).collect();
        let testbed = TestBed { firewall_bridges, node, outside, guests };
        testbed.node.exec(NODE_SETTINGS);
        testbed.node.exec(&testbed.script());
        testbed
    }

    /// The namespace of an endpoint.
    pub fn netns(&self, endpoint: Endpoint) -> &Netns {
        match endpoint {
            Endpoint::Host => &self.node,
            Endpoint::Outside => &self.outside,
            Endpoint::Guest(index) => &self.guests[&DEVICES[index].vmid],
        }
    }

    fn script(&self) -> String {
        let mut script = String::new();
        for bridge in 0..2 {
            let uplink = bridge + 1;
            // the host has the same MAC address on each bridge
            write!(
                script,
                "ip link add vmbr{bridge} address {} type bridge mcast_snooping 0 forward_delay 0\n\
                 ip addr add 10.0.{bridge}.1/24 dev vmbr{bridge}; ip addr add fd00:0:0:{bridge}::1/64 dev vmbr{bridge}\n\
                 ip addr add fe80::1/64 dev vmbr{bridge}; ip link set vmbr{bridge} up\n\
                 ip link add eno{uplink} type veth peer name eth{bridge} netns {}\n\
                 ip -n {1} link set eth{bridge} address {} up\n\
                 ip link set eno{uplink} master vmbr{bridge} up\n",
                text(Endpoint::Host.mac()),
                self.outside.name(),
                text(Endpoint::Outside.mac()),
            )
            .unwrap();
        }
        for device in &DEVICES {
            self.attach(device, &mut script);
        }
        self.fill_tables(&mut script);
        script
    }

    /// Attaches a device as Proxmox VE does.
    fn attach(&self, device: &Device, script: &mut String) {
        let Device { vmid, index, bridge, .. } = device;
        let (name, id, guest) = (device.name(), format!("{vmid}i{index}"), self.guests[vmid].name());
        write!(
            script,
            "ip link add {name} type veth peer name eth{index} netns {guest}\n\
             ip -n {guest} link set eth{index} address {} up; ip link set {name} up\n",
            text(device.mac())
        )
        .unwrap();
        if self.has_firewall_bridge(device) {
            write!(
                script,
                "ip link add fwbr{id} type bridge mcast_snooping 0 forward_delay 0; ip link set fwbr{id} up\n\
                 ip link add fwln{id} type veth peer name fwpr{vmid}p{index}\n\
                 ip link set {name} master fwbr{id}; ip link set fwln{id} master fwbr{id} up\n\
                 ip link set fwpr{vmid}p{index} master vmbr{bridge} up\n",
            )
            .unwrap();
        } else {
            writeln!(script, "ip link set {name} master vmbr{bridge}").unwrap();
        }
    }

    /// Fills the bridges' forwarding databases and the node's neighbour tables, so that nothing is resolved or flooded.
    fn fill_tables(&self, script: &mut String) {
        for endpoint in Endpoint::ALL {
            let mac = text(endpoint.mac());
            if endpoint != Endpoint::Host {
                for address in endpoint.addresses().into_iter().chain(endpoint.other_addresses()) {
                    let bridge = endpoint.bridge();
                    writeln!(script, "ip neigh replace {address} lladdr {mac} dev vmbr{bridge} nud permanent").unwrap();
                }
            }
            let port = match endpoint {
                Endpoint::Host => None,
                Endpoint::Outside => Some("eno1".to_string()),
                Endpoint::Guest(index) => Some(self.port_of(&DEVICES[index])),
            };
            if let Some(port) = port {
                writeln!(script, "bridge fdb replace {mac} dev {port} master static").unwrap();
            }
            for (index, device) in DEVICES.iter().enumerate().filter(|(_, device)| self.has_firewall_bridge(device)) {
                let id = format!("{}i{}", device.vmid, device.index);
                let port = if endpoint == Endpoint::Guest(index) { device.name() } else { format!("fwln{id}") };
                writeln!(script, "bridge fdb replace {mac} dev {port} master static").unwrap();
            }
        }
        let outside = Endpoint::Outside.addresses();
        writeln!(script, "ip route add default via {}; ip -6 route add default via {}", outside[0], outside[1])
            .unwrap();
        // the machine's name servers are not reachable from here: lookups fail immediately instead of after a timeout
        for server in std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default().lines() {
            if let Some(server) = server.strip_prefix("nameserver ") {
                writeln!(script, "ip route add unreachable {}", server.trim()).unwrap();
            }
        }
    }

    /// Adds the addresses of the guests and the external host, which then reply like hosts.
    pub fn assign_addresses(&self) {
        for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Host) {
            let (interface, [v4, v6]) = (endpoint.interface(), endpoint.addresses());
            self.netns(endpoint).exec(&format!(
                "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.{interface}.disable_ipv6=0 \
                 net.ipv6.conf.{interface}.accept_dad=0\n\
                 ip addr add {v4}/24 dev {interface}; ip addr add {v6}/64 dev {interface} nodad"
            ));
        }
    }

    fn has_firewall_bridge(&self, device: &Device) -> bool {
        self.firewall_bridges && device.firewalled
    }

    /// The port of `vmbrX` for a device.
    fn port_of(&self, device: &Device) -> String {
        match self.has_firewall_bridge(device) {
            true => format!("fwpr{}p{}", device.vmid, device.index),
            false => device.name(),
        }
    }
}
