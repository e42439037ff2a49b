//! The ebtables chains: filters for guests' traffic on layer 2.
use super::chain_builder::generated;
use super::common_matches::ethertype;
use super::device_tree::Branch;
use super::sets::{has_ipfilter, ipfilter};
use super::strict_layer2::Encapsulations;
use crate::config::{Guest, GuestOptions, SetEntry};
use crate::iptables::names;
use crate::iptables::ruleset::{BridgeChain, BridgeMatch, BridgeRule, BridgeTarget, ChainName};
use crate::model::{Interface, OptionKey, Origin};
use crate::node::Device;
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Finished chains, in any order.
pub type BridgeChains = Vec<(ChainName, Arc<BridgeChain>)>;

/// A chain that is being built.
struct Builder {
    name: ChainName,
    rules: Vec<BridgeRule>,
}

impl Builder {
    fn new(name: impl Into<ChainName>) -> Self {
        Builder { name: name.into(), rules: Vec::new() }
    }

    fn rule(&mut self, matches: impl IntoIterator<Item = BridgeMatch>, target: BridgeTarget, origin: &Origin) {
        self.rules.push(BridgeRule { matches: matches.into_iter().collect(), target, origin: origin.clone() });
    }

    fn finish(self, chains: &mut BridgeChains) {
        chains.push((self.name, Arc::new(BridgeChain::new(self.rules))));
    }
}

fn jump(name: impl Into<ChainName>) -> BridgeTarget {
    BridgeTarget::Jump(name.into())
}

fn protocol(name: &str) -> [BridgeMatch; 1] {
    [BridgeMatch::Protocol(ethertype(name))]
}

/// The entry chains, with the jumps to the chains of devices in this tree, and if `strict` to those for frames to devices.
pub fn entries(tree: &[Branch<'_>], strict: bool) -> BridgeChains {
    let mut chains = BridgeChains::new();
    let origin = generated("the jump to the guests' chains");
    let mut forward = Builder::new(names::FORWARD);
    forward.rule(protocol("IPv4"), BridgeTarget::Accept, &generated("iptables filters IPv4"));
    forward.rule(protocol("IPv6"), BridgeTarget::Accept, &generated("ip6tables filters IPv6"));
    forward.rule([BridgeMatch::OutInterface(names::inner_links())], jump(names::FWBR_OUT), &origin);
    if strict {
        forward.rule([BridgeMatch::InInterface(names::inner_links())], jump(names::FWBR_IN), &origin);
    }
    forward.finish(&mut chains);

    for Branch { prefix, jumps } in tree {
        if strict {
            let mut incoming = Builder::new(names::branch_in(prefix));
            for one in jumps {
                incoming.rule([BridgeMatch::OutInterface(one.port())], jump(one.chain_in()), &origin);
            }
            incoming.finish(&mut chains);
        }
        let mut outgoing = Builder::new(names::branch_out(prefix));
        for one in jumps {
            outgoing.rule([BridgeMatch::InInterface(one.port())], jump(one.chain_out()), &origin);
        }
        outgoing.finish(&mut chains);
    }
    chains
}

/// The chains of an enabled guest. `strict` are the encapsulations that no device may use.
pub fn guest(guest: &Guest, devices: &[Device], strict: Option<&Encapsulations>) -> BridgeChains {
    let mut chains = BridgeChains::new();
    for device in devices {
        device_chains(guest, device, strict, &mut chains);
        let known = Some((&guest.options, device));
        strict.into_iter().for_each(|strict| incoming(&device.name, strict, known, &mut chains));
    }
    chains
}

/// The chains for devices of a guest with an unreadable file that have no live chains yet.
pub fn kept(devices: &[Interface], strict: Option<&Encapsulations>) -> BridgeChains {
    let mut chains = BridgeChains::new();
    if let Some(strict) = strict {
        devices.iter().for_each(|device| incoming(device, strict, None, &mut chains));
    }
    chains
}

/// The chain of frames to a device.
fn incoming(
    device: &Interface,
    strict: &Encapsulations,
    known: Option<(&GuestOptions, &Device)>,
    chains: &mut BridgeChains,
) {
    let mut rules = Builder::new(names::device_in(device));
    refuse(strict, known, &mut rules);
    rules.finish(chains);
}

/// Drops the frames whose IP packets bypass iptables.
fn refuse(strict: &Encapsulations, known: Option<(&GuestOptions, &Device)>, rules: &mut Builder) {
    for (_, name) in strict.refused(known) {
        rules.rule([BridgeMatch::Protocol(name.clone())], BridgeTarget::Drop, &generated("--strict-layer2"));
    }
}

fn device_chains(guest: &Guest, device: &Device, strict: Option<&Encapsulations>, chains: &mut BridgeChains) {
    let options = &guest.options;
    let mut rules = Builder::new(names::device_out(&device.name));
    strict.into_iter().for_each(|strict| refuse(strict, Some((options, device)), &mut rules));
    if let Some(mac) = device.mac.as_ref().filter(|_| options.macfilter) {
        rules.rule([BridgeMatch::NotFrom(mac.value)], BridgeTarget::Drop, &options.lines.origin(OptionKey::Macfilter));
    }
    if let Some(sources) = arp_sources(guest, device) {
        let origin = options.lines.origin(OptionKey::Ipfilter);
        let arp = names::device_arp(&device.name);
        rules.rule(protocol("ARP"), jump(arp.clone()), &origin);
        let mut filter = Builder::new(arp);
        for source in sources {
            let [arp] = protocol("ARP");
            filter.rule([arp, BridgeMatch::ArpSource(source)], BridgeTarget::Return, &origin);
        }
        filter.rule([], BridgeTarget::Drop, &origin);
        filter.finish(chains);
    }
    if let Some(listed) = &options.layer2_protocols {
        let origin = options.lines.origin(OptionKey::Layer2Protocols);
        let protocols = names::device_protocols(&device.name);
        rules.rule([], jump(protocols.clone()), &origin);
        let mut filter = Builder::new(protocols);
        for name in listed {
            filter.rule([BridgeMatch::Protocol(name.clone())], BridgeTarget::Return, &origin);
        }
        filter.rule([], BridgeTarget::Drop, &origin);
        filter.finish(chains);
    }
    rules.rule([], BridgeTarget::Accept, &options.lines.origin(OptionKey::Enable));
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
    let (excepted, listed): (Vec<_>, Vec<_>) = listed.partition(|(_, nomatch)| *nomatch);
    let own = device.addresses.iter().filter_map(|address| v4(IpNet::from(*address)));
    // a configured exception takes precedence over an implied address
    let own = own.filter(|own| !excepted.iter().any(|(net, _)| net == own));
    // a host that probes whether an address is in use has none yet (RFC 5227)
    let mut sources = vec![Ipv4Net::from(Ipv4Addr::UNSPECIFIED)];
    for source in listed.into_iter().map(|(net, _)| net).chain(own) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    has_ipfilter(guest, device).then_some(sources)
}
