//! The ebtables chains: what guests may send below IP.
use super::builder::{chain, made};
use super::matches::{ethertype, guest_links};
use super::sets::ipfilter;
use crate::config::{Guest, SetEntry};
use crate::iptables::ruleset::{BridgeChain, BridgeMatch, BridgeRule, BridgeTarget, ChainName};
use crate::model::{Interface, Origin};
use crate::node::Device;
use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;
use std::sync::Arc;

/// Chains that are made, in any order.
pub type BridgeChains = Vec<(ChainName, Arc<BridgeChain>)>;

/// A chain that is being made.
struct Builder {
    name: ChainName,
    rules: Vec<BridgeRule>,
}

impl Builder {
    fn new(name: &str) -> Self {
        Builder { name: chain(name), rules: Vec::new() }
    }

    fn rule(&mut self, matches: impl IntoIterator<Item = BridgeMatch>, target: BridgeTarget, origin: &Origin) {
        self.rules.push(BridgeRule { matches: matches.into_iter().collect(), target, origin: origin.clone() });
    }

    fn finish(self, chains: &mut BridgeChains) {
        chains.push((self.name, Arc::new(BridgeChain::new(self.rules))));
    }
}

fn jump(name: &str) -> BridgeTarget {
    BridgeTarget::Jump(chain(name))
}

fn protocol(name: &str) -> [BridgeMatch; 1] {
    [BridgeMatch::Protocol(ethertype(name))]
}

/// The entry chains, with the ways to the chains of these devices.
pub fn entries(devices: &[Interface]) -> BridgeChains {
    let mut chains = BridgeChains::new();
    let origin = made("the jump to the guests' chains");
    let mut forward = Builder::new("PVEFW-FORWARD");
    forward.rule(protocol("IPv4"), BridgeTarget::Accept, &made("iptables decides over IPv4"));
    forward.rule(protocol("IPv6"), BridgeTarget::Accept, &made("ip6tables decides over IPv6"));
    forward.rule([BridgeMatch::OutInterface(guest_links())], jump("PVEFW-FWBR-OUT"), &origin);
    forward.finish(&mut chains);

    let mut outgoing = Builder::new("PVEFW-FWBR-OUT");
    for device in devices {
        outgoing.rule([BridgeMatch::InInterface(device.clone())], jump(&[device.as_str(), "-OUT"].concat()), &origin);
    }
    outgoing.finish(&mut chains);
    chains
}

/// The chains of an enabled guest.
pub fn guest(guest: &Guest, devices: &[Device]) -> BridgeChains {
    let mut chains = BridgeChains::new();
    for device in devices {
        device_chains(guest, device, &mut chains);
    }
    chains
}

fn device_chains(guest: &Guest, device: &Device, chains: &mut BridgeChains) {
    let options = &guest.options;
    let name = format!("{}-OUT", device.name);
    let mut rules = Builder::new(&name);
    if let Some(mac) = device.mac.as_ref().filter(|_| options.macfilter) {
        rules.rule([BridgeMatch::NotFrom(mac.value)], BridgeTarget::Drop, &options.lines.origin("macfilter"));
    }
    if let Some(sources) = arp_sources(guest, device) {
        let origin = options.lines.origin("ipfilter");
        let arp = format!("{name}-ARP");
        rules.rule(protocol("ARP"), jump(&arp), &origin);
        let mut filter = Builder::new(&arp);
        for source in sources {
            let [arp] = protocol("ARP");
            filter.rule([arp, BridgeMatch::ArpSource(source)], BridgeTarget::Return, &origin);
        }
        filter.rule([], BridgeTarget::Drop, &origin);
        filter.finish(chains);
    }
    if !options.layer2_protocols.is_empty() {
        let origin = options.lines.origin("layer2_protocols");
        let proto = format!("{name}-PROTO");
        rules.rule([], jump(&proto), &origin);
        let mut filter = Builder::new(&proto);
        for name in &options.layer2_protocols {
            filter.rule([BridgeMatch::Protocol(name.clone())], BridgeTarget::Return, &origin);
        }
        filter.rule([], BridgeTarget::Drop, &origin);
        filter.finish(chains);
    }
    rules.rule([], BridgeTarget::Accept, &options.lines.origin("enable"));
    rules.finish(chains);
}

/// The IPv4 addresses that a device may use in ARP, each once; `None` if it is not filtered.
fn arp_sources(guest: &Guest, device: &Device) -> Option<Vec<Ipv4Net>> {
    let v4 = |net: IpNet| match net {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    };
    let entries = guest.definitions.sets.get(&ipfilter(device)).map(|set| set.entries.as_slice()).unwrap_or_default();
    let listed = entries.iter().filter_map(|SetEntry { net, nomatch }| Some((v4(*net)?, *nomatch)));
    let listed: Vec<_> = listed.collect();
    let own = device.addresses.iter().filter(|_| guest.options.ipfilter).filter_map(|address| match address {
        IpAddr::V4(address) => Some(Ipv4Net::from(*address)),
        IpAddr::V6(_) => None,
    });
    let mut sources: Vec<Ipv4Net> = Vec::new();
    for source in listed.iter().filter(|(_, nomatch)| !nomatch).map(|(net, _)| *net).chain(own) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    (!listed.is_empty() || !sources.is_empty()).then_some(sources)
}

/// The chains of a device whose live content is kept, in all tables.
pub fn kept_chains(device: &Interface) -> impl Iterator<Item = ChainName> + '_ {
    ["-IN", "-OUT", "-OUT-ARP", "-OUT-PROTO"].into_iter().map(move |suffix| chain(&format!("{device}{suffix}")))
}
