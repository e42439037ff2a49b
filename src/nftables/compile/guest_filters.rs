//! Filters for frames from guests that apply regardless of the guest's rules: MAC addresses, IP addresses, protocols.
use super::TablePart;
use super::chain_builder::{Builder, foreign_mac, generated, only};
use super::lists::MAX_ALTERNATIVES;
use super::sets::{add_guest_set, written};
use crate::config::{Guest, GuestOptions};
use crate::model::{Encapsulation, Family, OptionKey, Origin, Token};
use crate::nftables::names::Name;
use crate::nftables::ruleset::{Action, Addresses, Interval, IntervalSet, Match, Side};
use crate::node::Device;
use crate::node::name_databases::Databases;
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
/// The values of the type field that are lengths (IEEE 802.3).
const LENGTHS: (u16, u16) = (0, 0x05ff);

/// Drops frames of a device with another MAC address than its own.
pub fn mac(guest: &Guest, device: &Device, on: Option<&Match>, into: &mut Builder<'_>) {
    if let Some(mac) = device.mac.as_ref().filter(|_| guest.options.macfilter) {
        for matches in foreign_mac(mac.value) {
            into.rule(only(on.cloned(), matches), Action::Drop, &guest.options.lines.origin(OptionKey::Macfilter));
        }
    }
}

/// Drops packets and ARP messages of a device with another IP address than its own ones, if they are filtered: by the
/// option `ipfilter`, or by a set of the device.
pub fn ip(vmid: u32, guest: &Guest, device: &Device, on: Option<&Match>, part: &mut TablePart, into: &mut Builder<'_>) {
    let name = format!("ipfilter-{}", device.netid);
    let set = guest.definitions.sets.get(&name);
    if set.is_none() && !guest.options.ipfilter {
        return;
    }
    let origin = match set {
        Some(set) if set.line > 0 => Origin::Line(guest.file.clone(), set.line),
        _ => guest.options.lines.origin(OptionKey::Ipfilter),
    };
    let written: Vec<(IpNet, bool)> = set.into_iter().flat_map(written).collect();
    // configured entries are last, so that they take precedence over implied ones
    let entries: Vec<_> = implied(device).into_iter().chain(written.iter().copied()).collect();
    for family in Family::ALL {
        let allowed = IntervalSet::of_entries(family, entries.iter().copied());
        let outside = |addresses| Match::Address { side: Side::Source, negated: true, addresses };
        let set = (allowed.intervals().len() > MAX_ALTERNATIVES)
            .then(|| add_guest_set(vmid, &name, family, &allowed, &guest.file, part))
            .flatten();
        let matches: Vec<Match> = match set {
            Some(set) => vec![outside(Addresses::Set(family, set))],
            None if allowed.is_empty() => vec![Match::Family(family)],
            None => {
                let one = |interval| outside(Addresses::Interval(Box::new(interval)));
                allowed.intervals().iter().copied().map(one).collect()
            }
        };
        if !allowed.intervals().first().is_some_and(Interval::is_everything) {
            into.rule(only(on.cloned(), matches), Action::Drop, &origin);
        }
    }
    let matches = arp(vmid, &name, guest, device, &written, part);
    into.rule(only(on.cloned(), matches), Action::Drop, &origin);
}

/// The matches for ARP messages of a device with another sender address; if the filter has no IPv4 address, the match for all
/// ARP messages.
fn arp(
    vmid: u32,
    name: &str,
    guest: &Guest,
    device: &Device,
    written: &[(IpNet, bool)],
    part: &mut TablePart,
) -> Vec<Match> {
    let own = device.addresses.iter().map(|address| IpNet::from(*address));
    // a configured exception takes precedence over an implied address
    let own = own.filter(|own| !written.contains(&(*own, true)));
    let listed = written.iter().filter(|(_, nomatch)| !nomatch).map(|(net, _)| *net);
    let senders = listed.chain(own).filter(|net| net.addr().is_ipv4());
    let senders = IntervalSet::union(senders.map(|net| net.trunc().into()));
    // a probe for duplicate addresses has the sender 0.0.0.0 (RFC 5227)
    let unspecified = Ipv4Addr::UNSPECIFIED;
    let mut matches = vec![Match::Arp, Match::NotArpSource(unspecified, unspecified)];
    if senders.intervals().len() > MAX_ALTERNATIVES {
        let set: Option<Name> = add_guest_set(vmid, &format!("{name}-arp"), Family::V4, &senders, &guest.file, part);
        matches.extend(set.map(Match::NotArpSourceIn));
    } else {
        matches.extend(senders.intervals().iter().filter_map(|interval| match interval.ends() {
            (IpAddr::V4(first), IpAddr::V4(last)) => Some(Match::NotArpSource(first, last)),
            _ => None,
        }));
    }
    matches
}

/// The implied entries of a filter: the link-local address of the device's MAC and no other one, the configured addresses of
/// a container, and `::` for duplicate address detection (RFC 4862).
fn implied(device: &Device) -> Vec<(IpNet, bool)> {
    let all_link_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    let link_local = device.mac.as_ref().map(|mac| (IpNet::from(IpAddr::V6(mac.value.link_local())), false));
    let configured = device.addresses.iter().map(|address| (IpNet::from(*address), false));
    let unspecified = (IpNet::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), false);
    [(all_link_local.into(), true), unspecified].into_iter().chain(link_local).chain(configured).collect()
}

/// Drops the frames that a device must neither send nor receive with `--strict-layer2`.
pub fn strict(guest: &Guest, device: &Device, on: Option<&Match>, databases: &Databases, into: &mut Builder<'_>) {
    for one in refused(&guest.options, device, databases) {
        let types = one.ethertype().map_or(LENGTHS, |code| (code, code));
        let matches = only(on.cloned(), [Match::FrameType { negated: false, types }]);
        into.rule(matches, Action::Drop, &generated("--strict-layer2"));
    }
}

/// The encapsulations that a device may not use. Tags are allowed for trunks (`trunks=`), and so are the types in
/// `layer2_protocols`.
pub fn refused<'a>(
    options: &'a GuestOptions,
    device: &'a Device,
    databases: &'a Databases,
) -> impl Iterator<Item = Encapsulation> + 'a {
    let named = |name: &Token, one: Encapsulation| match one.ethertype() {
        Some(code) => databases.ethertype_code(name.as_str()) == Some(code),
        None => name.as_str() == Encapsulation::LENGTH,
    };
    let allowed = move |one: Encapsulation| {
        let listed = options.layer2_protocols.iter().flatten().any(|name| named(name, one));
        listed || (device.trunk && one.is_tag())
    };
    Encapsulation::ALL.into_iter().filter(move |one| !allowed(*one))
}

/// Drops all protocols except those in `layer2_protocols`, if the option is set. Protocols other than IP are accepted, and IP
/// packets continue with the guest's rules. For a tagged frame the inner protocol is compared; if the list contains the
/// ethertype of the tag, all inner protocols are allowed.
pub fn layer2(guest: &Guest, databases: &Databases, into: &mut Builder<'_>) {
    let Some(listed) = &guest.options.layer2_protocols else { return };
    let origin = guest.options.lines.origin(OptionKey::Layer2Protocols);
    let codes: Vec<u16> = listed.iter().filter_map(|name| databases.ethertype_code(name.as_str())).collect();
    for code in codes.iter().copied().filter(|code| ![IPV4, IPV6, VLAN].contains(code)) {
        into.rule([Match::Ethertype { negated: false, code }], Action::Accept, &origin);
    }
    let mut other = Vec::new();
    other.extend(
        [IPV4, IPV6]
            .into_iter()
            .filter(|code| codes.contains(code))
            .map(|code| Match::Ethertype { negated: true, code }),
    );
    other.extend(codes.contains(&VLAN).then_some(Match::FrameType { negated: true, types: (VLAN, VLAN) }));
    into.rule(other, Action::Drop, &origin);
}
