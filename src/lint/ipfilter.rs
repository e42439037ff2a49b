//! IP filters that block a guest's own addresses.
use super::files::{Files, GuestFile};
use crate::config::Guest;
use crate::model::{Origin, Report};
use crate::node::Device;
use ipnet::IpNet;
use std::net::IpAddr;

/// Checks every filtered device of the node's guests.
pub fn ipfilter(files: &Files<'_>, reports: &mut Vec<Report>) {
    for GuestFile { guest, conf } in &files.guests {
        let Some((devices, conf)) = conf.as_ref().filter(|_| guest.options.enable) else { continue };
        for device in *devices {
            of_device(guest, device, conf, reports);
        }
    }
}

fn of_device(guest: &Guest, device: &Device, conf: &str, reports: &mut Vec<Report>) {
    let name = format!("ipfilter-{}", device.netid);
    let set = guest.definitions.sets.get(&name);
    let line = match (set, guest.options.lines.origin("ipfilter")) {
        (Some(set), _) => set.line,
        (None, Origin::Line(_, line)) if guest.options.ipfilter => line,
        (None, _) => return,
    };
    let allowed: Vec<IpNet> = set.map_or_else(Vec::new, |set| {
        set.entries.iter().filter(|entry| !entry.nomatch).map(|entry| entry.net).collect()
    });
    let netid = &device.netid;
    let mut warn = |text: String| reports.push(Report::warning(&guest.file, line, text));
    if allowed.is_empty() && device.addresses.is_empty() {
        warn(format!(
            "the IP filter of {netid} holds no address of the guest: only its IPv6 link-local address gets out; \
             add its addresses to [IPSET {name}]"
        ));
        return;
    }
    for own in cloud_init(conf, netid) {
        // a container's configured addresses are always in the set
        if !device.addresses.contains(&own) && !allowed.iter().any(|net| net.contains(&own)) {
            warn(format!(
                "the IP filter of {netid} lacks {own}, which the guest is configured with: nothing that it sends from \
                 there gets out; add it to [IPSET {name}]"
            ));
        }
    }
}

/// The addresses of a VM's device configured with cloud-init (qm(1), `ipconfigN`).
fn cloud_init(conf: &str, netid: &str) -> Vec<IpAddr> {
    let key = netid.replace("net", "ipconfig");
    let running = conf.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let value = running.filter_map(|line| line.split_once(':')).filter(|(name, _)| *name == key).last();
    let parts = value.into_iter().flat_map(|(_, value)| value.trim().split(','));
    let addresses = parts.filter_map(|part| part.split_once('=')).filter(|(name, _)| matches!(*name, "ip" | "ip6"));
    addresses.filter_map(|(_, address)| address.split('/').next()?.parse().ok()).collect()
}
