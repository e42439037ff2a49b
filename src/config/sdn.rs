//! The IP sets of SDN (`+sdn/…`): those of vnets from `sdn/.running-config`, those of guests from the state of the IPAM.
//!
//! If a file is not JSON, its sets do not exist; an invalid entry is left out.
use super::aliases_and_sets::{IpSet, SetEntry};
use crate::model::guest::parse_vmid;
use crate::model::{Report, printable};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The sets of SDN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sdn {
    /// The sets by name, in lower case: `vnet0-all`, `guest-ipam-100`.
    pub sets: BTreeMap<String, SdnSet>,
    /// Their names.
    pub names: Arc<BTreeSet<String>>,
}

/// A set of SDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdnSet {
    /// The file that it is from.
    pub file: Arc<str>,
    /// Its content.
    pub set: IpSet,
}

impl SdnSet {
    fn of(file: &Arc<str>) -> Self {
        SdnSet { file: file.clone(), set: IpSet::default() }
    }

    /// Adds an entry, each only once.
    fn add(&mut self, net: IpNet, nomatch: bool) {
        let entry = SetEntry { net, nomatch };
        if !self.set.entries.contains(&entry) {
            self.set.entries.push(entry);
            self.set.lines += 1;
        }
    }
}

/// Parses `sdn/.running-config` and the state of the IPAM, each a file name for reports and its content.
pub fn parse(running: Option<(&Arc<str>, &[u8])>, ipam: Option<(&Arc<str>, &[u8])>, reports: &mut Vec<Report>) -> Sdn {
    let mut sets = BTreeMap::new();
    let mut read = |source: Option<(&Arc<str>, &[u8])>, collect: &dyn Fn(&mut SetReader<'_>, &Value)| {
        let Some((file, content)) = source else { return };
        match serde_json::from_slice(content) {
            Ok(value) => collect(&mut SetReader { file, sets: &mut sets, reports }, &value),
            Err(error) => {
                let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
                reports.push(Report::line(file, line, format!("invalid JSON: {error}; its IP sets do not exist")));
            }
        }
    };
    read(running, &|reader, config| reader.running(config));
    read(ipam, &|reader, state| reader.ipam(state));
    let names = Arc::new(sets.keys().cloned().collect());
    Sdn { sets, names }
}

/// Collects the sets of a file.
struct SetReader<'a> {
    file: &'a Arc<str>,
    sets: &'a mut BTreeMap<String, SdnSet>,
    reports: &'a mut Vec<Report>,
}

impl SetReader<'_> {
    fn error(&mut self, text: impl std::fmt::Display) {
        self.reports.push(Report::file(self.file, text));
    }

    /// The set with this name, a new one if there is none yet.
    fn set(&mut self, name: &str) -> &mut SdnSet {
        self.sets.entry(name.to_ascii_lowercase()).or_insert_with(|| SdnSet::of(self.file))
    }

    /// `vnets.ids.V` and `subnets.ids.ZONE-NET-LENGTH`: four sets for each vnet.
    fn running(&mut self, config: &Value) {
        let vnets: Vec<&String> = ids(config, "vnets").into_iter().flatten().map(|(name, _)| name).collect();
        for vnet in &vnets {
            for kind in ["all", "gateway", "no-gateway", "dhcp"] {
                self.set(&format!("{vnet}-{kind}"));
            }
        }
        for (id, subnet) in ids(config, "subnets").into_iter().flatten() {
            let vnet = subnet.get("vnet").and_then(Value::as_str).unwrap_or_default();
            if !vnets.iter().any(|known| *known == vnet) {
                self.error(format_args!(
                    "subnet '{}' is ignored: there is no vnet '{}'",
                    printable(id),
                    printable(vnet)
                ));
                continue;
            }
            let Some(net) = subnet_of(id) else {
                self.error(format_args!("subnet '{}' is ignored: its name is not ZONE-NETWORK-LENGTH", printable(id)));
                continue;
            };
            self.set(&format!("{vnet}-all")).add(net, false);
            self.set(&format!("{vnet}-no-gateway")).add(net, false);
            if let Some(gateway) = subnet.get("gateway") {
                match address(gateway) {
                    Some(gateway) => {
                        self.set(&format!("{vnet}-gateway")).add(gateway.into(), false);
                        self.set(&format!("{vnet}-no-gateway")).add(gateway.into(), true);
                    }
                    None => self.error(format_args!("the gateway of subnet '{}' is not an address", printable(id))),
                }
            }
            for range in ranges(subnet.get("dhcp-range")) {
                match range {
                    Some(nets) => nets.into_iter().for_each(|net| self.set(&format!("{vnet}-dhcp")).add(net, false)),
                    None => self.error(format_args!(
                        "a dhcp-range of subnet '{}' is ignored: it is not start-address=A,end-address=B",
                        printable(id)
                    )),
                }
            }
        }
    }

    /// `zones.Z.subnets.NET.ips.ADDRESS`: a set for each guest.
    fn ipam(&mut self, state: &Value) {
        for (_, zone) in object(state.get("zones")).into_iter().flatten() {
            for (text, subnet) in object(zone.get("subnets")).into_iter().flatten() {
                let net: Option<IpNet> = text.parse().ok();
                for (address, lease) in object(subnet.get("ips")).into_iter().flatten() {
                    let Some(vmid) = lease.get("vmid") else { continue };
                    let digits = vmid.as_str().map_or_else(|| vmid.to_string(), ToString::to_string);
                    let Some(vmid) = parse_vmid(&digits) else {
                        self.error(format_args!("address {} is ignored: {vmid} is not a VMID", printable(address)));
                        continue;
                    };
                    let name = format!("guest-ipam-{vmid}");
                    self.set(&name);
                    let inside = |address: &IpAddr| net.is_none_or(|net| net.contains(address));
                    match address.parse::<IpAddr>().ok().filter(inside) {
                        Some(address) => self.set(&name).add(address.into(), false),
                        None => self.error(format_args!(
                            "address '{}' of guest {vmid} is ignored: it is not an address in {}",
                            printable(address),
                            printable(text)
                        )),
                    }
                }
            }
        }
    }
}

fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn ids<'a>(config: &'a Value, kind: &str) -> Option<&'a Map<String, Value>> {
    object(config.get(kind)?.get("ids"))
}

/// The network of a subnet by its identifier: `zone0-10.1.0.0-24`. The tools do not support an entry for the network of all
/// addresses.
fn subnet_of(id: &str) -> Option<IpNet> {
    let (rest, length) = id.rsplit_once('-')?;
    let (_, address) = rest.split_once('-')?;
    let net = IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()?;
    (net.prefix_len() > 0).then(|| net.trunc())
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

/// The ranges of `dhcp-range`, a text or a list of them, each as networks.
fn ranges(value: Option<&Value>) -> Vec<Option<Vec<IpNet>>> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(several)) => several.iter().map(range).collect(),
        Some(one) => vec![range(one)],
    }
}

/// `start-address=A,end-address=B`, in any order.
fn range(value: &Value) -> Option<Vec<IpNet>> {
    let (mut start, mut end) = (None, None);
    for part in value.as_str()?.split(',') {
        let (key, address) = part.split_once('=')?;
        match key.trim() {
            "start-address" => start = address.trim().parse::<IpAddr>().ok(),
            "end-address" => end = address.trim().parse::<IpAddr>().ok(),
            _ => {}
        }
    }
    match (start?, end?) {
        (IpAddr::V4(start), IpAddr::V4(end)) if start <= end => {
            Some(Ipv4Subnets::new(start, end, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(start), IpAddr::V6(end)) if start <= end => {
            Some(Ipv6Subnets::new(start, end, 0).map(IpNet::V6).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(running: &str, ipam: &str) -> (Sdn, Vec<String>) {
        let (running_file, ipam_file) = ("r".into(), "i".into());
        let mut reports = Vec::new();
        let sdn = parse(
            Some((&running_file, running.as_bytes())).filter(|_| !running.is_empty()),
            Some((&ipam_file, ipam.as_bytes())).filter(|_| !ipam.is_empty()),
            &mut reports,
        );
        (sdn, reports.iter().map(ToString::to_string).collect())
    }

    fn entries(sdn: &Sdn, name: &str) -> Vec<String> {
        let entries = &sdn.sets.get(name).unwrap_or_else(|| panic!("{name}")).set.entries;
        entries.iter().map(|entry| format!("{}{}", if entry.nomatch { "!" } else { "" }, entry.net)).collect()
    }

    #[test]
    fn a_vnet_has_four_sets() {
        let (sdn, reports) = read(
            r#"{"zones":{"ids":{"z":{"type":"simple"}}},"vnets":{"ids":{"Vnet0":{"zone":"z"},"empty":{"zone":"z"}}},
            "subnets":{"ids":{"z-10.1.0.0-24":{"vnet":"Vnet0","gateway":"10.1.0.1","dhcp-range":
            ["start-address=10.1.0.8,end-address=10.1.0.12","end-address=10.1.0.20,start-address=10.1.0.20"]},
            "z-fd01::-64":{"vnet":"Vnet0","gateway":"fd01::1","dhcp-range":"start-address=fd01::100,end-address=fd01::1ff"}}}}"#,
            "",
        );
        assert_eq!(reports, [""; 0]);
        assert_eq!(entries(&sdn, "vnet0-all"), ["10.1.0.0/24", "fd01::/64"]);
        assert_eq!(entries(&sdn, "vnet0-gateway"), ["10.1.0.1/32", "fd01::1/128"]);
        assert_eq!(entries(&sdn, "vnet0-no-gateway"), ["10.1.0.0/24", "!10.1.0.1/32", "fd01::/64", "!fd01::1/128"]);
        assert_eq!(entries(&sdn, "vnet0-dhcp"), ["10.1.0.8/30", "10.1.0.12/32", "10.1.0.20/32", "fd01::100/120"]);
        assert_eq!(entries(&sdn, "empty-dhcp"), [""; 0]);
        assert_eq!((sdn.sets.len(), sdn.names.len()), (8, 8));
    }

    #[test]
    fn a_guest_has_its_addresses_of_all_zones() {
        let (sdn, reports) = read(
            "",
            r#"{"zones":{"a":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.1":{"gateway":1},"10.1.0.9":{"mac":"x"},
            "10.1.0.100":{"vmid":"100"}}},"fd01::/64":{"ips":{"fd01::100":{"vmid":100}}}}},
            "b":{"subnets":{"10.2.0.0/24":{"ips":{"10.2.0.5":{"vmid":"100"},"10.2.0.6":{"vmid":"101"}}}}}}}"#,
        );
        assert_eq!(reports, [""; 0]);
        assert_eq!(entries(&sdn, "guest-ipam-100"), ["10.1.0.100/32", "fd01::100/128", "10.2.0.5/32"]);
        assert_eq!(entries(&sdn, "guest-ipam-101"), ["10.2.0.6/32"]);
        assert_eq!(sdn.sets.len(), 2);
    }

    #[test]
    fn invalid_entries_are_left_out() {
        let (sdn, reports) = read(
            r#"{"vnets":{"ids":{"v1":{}}},"subnets":{"ids":{"z-10.1.0.0-24":{"vnet":"v1","gateway":"10.1.0","dhcp-range":
            ["start-address=10.1.0.9,end-address=10.1.0.3","start-address=10.1.0.9,end-address=fd00::1","x",7,
            "start-address=10.1.0.4,end-address=10.1.0.4"]},"z-10.2.0.0-33":{"vnet":"v1"},"z-0.0.0.0-0":{"vnet":"v1"},
            "10.3.0.0":{"vnet":"v1"},"z-10.4.0.0-24":{"vnet":"none"},"z-10.5.0.0-24":{},"z-10.6.0.0-24":7}}}"#,
            r#"{"zones":{"a":{"subnets":{"10.1.0.0/24":{"ips":{"10.9.0.1":{"vmid":"100"},"x":{"vmid":"100"},
            "10.1.0.1":{"vmid":"abc"},"10.1.0.2":{"vmid":"100"}}},"bad":{"ips":[]}}},"b":[],"c":{"subnets":7}}}"#,
        );
        assert_eq!(entries(&sdn, "v1-all"), ["10.1.0.0/24"]);
        assert_eq!(entries(&sdn, "v1-gateway"), [""; 0]);
        assert_eq!(entries(&sdn, "v1-dhcp"), ["10.1.0.4/32"]);
        assert_eq!(entries(&sdn, "guest-ipam-100"), ["10.1.0.2/32"]);
        assert_eq!(reports.len(), 14, "{reports:#?}");
        // invalid JSON in one file does not affect the other file
        let (sdn, reports) =
            read("{\n", r#"{"zones":{"a":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.2":{"vmid":7}}}}}}}"#);
        assert_eq!(sdn.sets.keys().collect::<Vec<_>>(), ["guest-ipam-7"]);
        assert!(reports.len() == 1 && reports[0].starts_with("r (line 2): invalid JSON: "), "{reports:?}");
        for odd in [
            "null",
            "[]",
            "7",
            "{\"vnets\":7}",
            "{\"subnets\":{\"ids\":[]},\"zones\":{\"a\":{\"subnets\":{\"b\":{}}}}}",
        ] {
            assert_eq!(read(odd, odd), (Sdn::default(), Vec::new()), "{odd}");
        }
    }
}
