//! IP filters that block a guest's own addresses.
use super::parsed_files::{Files, GuestConf, GuestFile};
use crate::config::{Guest, IpSet};
use crate::model::{Family, OptionKey, Report};
use crate::node::Device;
use ipnet::IpNet;
use std::net::IpAddr;

/// Checks every filtered device of the node's guests.
pub fn ipfilter(files: &Files<'_>, reports: &mut Vec<Report>) {
    for GuestFile { guest, conf } in &files.guests {
        let Some(GuestConf { devices, links }) = conf.as_ref().filter(|_| guest.options.enable) else { continue };
        for device in *devices {
            let link =
                links.iter().find(|link| device.netid.strip_prefix("net") == Some(&link.device.index.to_string()));
            of_device(guest, device, link.map(|link| link.addresses.as_slice()).unwrap_or_default(), reports);
        }
    }
}

fn of_device(guest: &Guest, device: &Device, configured: &[IpAddr], reports: &mut Vec<Report>) {
    let name = format!("ipfilter-{}", device.netid);
    let set = guest.definitions.sets.get(&name);
    let line = match (set, guest.options.lines.line(OptionKey::Ipfilter)) {
        (Some(set), _) => set.line,
        (None, Some(line)) if guest.options.ipfilter => line,
        (None, _) => return,
    };
    let allowed: Vec<IpNet> = set.into_iter().flat_map(IpSet::networks).collect();
    let netid = &device.netid;
    let mut warn = |text: String| reports.push(Report::warning(&guest.file, line, text));
    if allowed.is_empty() && device.addresses.is_empty() {
        warn(format!(
            "the IP filter of {netid} contains no address of the guest: only packets from its IPv6 link-local address are accepted; \
             add its addresses to [IPSET {name}]"
        ));
        return;
    }
    let has = |family| {
        allowed
            .iter()
            .map(|net| Family::of(net.addr()))
            .chain(device.addresses.iter().map(|one| Family::of(*one)))
            .any(|one| one == family)
    };
    let uses = |family| configured.is_empty() || configured.iter().any(|one| Family::of(*one) == family);
    for (family, ip, more) in
        [(Family::V4, "IPv4", " and ARP"), (Family::V6, "IPv6", ", except from its link-local address,")]
    {
        if !has(family) && uses(family) {
            warn(format!(
                "the IP filter of {netid} contains no {ip} address: all {ip}{more} from the guest is dropped; add its \
                 addresses to [IPSET {name}]"
            ));
            return;
        }
    }
    for own in configured {
        // a container's configured addresses are always in the set
        if !device.addresses.contains(own) && !allowed.iter().any(|net| net.contains(own)) {
            warn(format!(
                "the IP filter of {netid} lacks {own}, which the guest is configured with: all packets from this \
                 address are dropped; add it to [IPSET {name}]"
            ));
        }
    }
}
