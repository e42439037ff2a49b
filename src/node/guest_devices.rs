//! The network devices in guests' `.conf` files.
use super::guests::ListedGuest;
use crate::model::guest::{GuestDevice, GuestKind, parse_net_index};
use crate::model::{Interface, MacAddr, Report, Spelled, decoded, is_plain};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A guest's network device with `firewall=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its key in the guest's configuration: `net0`.
    pub netid: String,
    /// Its name on the host: `tap100i0`, `veth200i0`.
    pub name: Interface,
    /// Its MAC address; without one, source MAC addresses are not filtered.
    pub mac: Option<Spelled<MacAddr>>,
    /// The addresses in a container's configuration.
    pub addresses: Vec<IpAddr>,
    /// Whether it is a trunk: its frames may have VLAN tags (`trunks=`).
    pub trunk: bool,
}

/// The firewalled devices in a guest's configuration, in the order of rules: by netid as text.
///
/// Only the part before the first `[section]` is used, and the last line of each key. An invalid `netN` is reported and
/// affects only that device.
pub fn devices(conf: &[u8], guest: &ListedGuest, file: &Arc<str>, reports: &mut Vec<Report>) -> Vec<Device> {
    let text = decoded(conf);
    let plain = is_plain(&text);
    // most lines are neither invalid nor devices
    let lines: Vec<_> =
        running(&text).filter(|(_, line)| line.starts_with("net") || (!plain && !is_plain(line))).collect();
    invalid_lines(&lines, |number, error| reports.push(Report::line(file, number, error)));
    let mut devices = Vec::new();
    for (netid, (number, value)) in nets(lines) {
        let mut warn = |text: String| reports.push(Report::warning(file, number, format!("{netid}: {text}")));
        match device(netid, value, guest, &mut warn) {
            Ok(device) => devices.extend(device),
            Err(error) => reports.push(Report::line(file, number, format!("{netid}: {error}: no rules for it"))),
        }
    }
    devices
}

/// A guest's network device, firewalled or not, with the bridge that it is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The device; its index is that in its key.
    pub device: GuestDevice,
    /// The bridge that it is attached to, if any.
    pub bridge: Option<String>,
    /// Whether it has `firewall=1`, and so its own bridge.
    pub firewalled: bool,
    /// Its MAC address.
    pub mac: Option<MacAddr>,
    /// Its configured addresses: from a container's `netN` line, or from a VM's `ipconfigN` for cloud-init.
    pub addresses: Vec<IpAddr>,
}

/// All network devices in a guest's configuration, by number. Invalid ones are omitted; [`devices`] reports them.
#[must_use]
pub fn links(conf: &[u8], guest: &ListedGuest) -> Vec<Link> {
    let text = decoded(conf);
    let ipconfigs: BTreeMap<&str, &str> = running(&text)
        .filter_map(|(_, line)| line.split_once(':'))
        .filter_map(|(key, value)| Some((key.strip_prefix("ipconfig")?, value.trim())))
        .collect();
    let link = |(netid, (_, value)): (&str, (u32, &str))| {
        let (index, parts) = (net_number(netid)?, parts(value));
        let addresses = match guest.kind {
            GuestKind::Container => addresses(&parts, |_| {}),
            GuestKind::Vm => {
                let ipconfig = ipconfigs.get(&netid["net".len()..]).copied().unwrap_or_default();
                addresses(&self::parts(ipconfig), |_| {})
            }
        };
        Some(Link {
            device: GuestDevice { kind: guest.kind, vmid: guest.vmid, index },
            bridge: parts.get("bridge").map(ToString::to_string),
            firewalled: is_firewalled(&parts),
            mac: mac_text(&parts, guest.kind).and_then(|mac| mac.parse().ok()),
            addresses,
        })
    };
    let mut links: Vec<_> = nets(running(&text)).into_iter().filter_map(link).collect();
    links.sort_unstable_by_key(|link| link.device.index);
    links
}

/// The numbered lines of the current configuration, which ends at the first section.
fn running(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.take_while(|(_, line)| !line.starts_with('[')).filter(|(_, line)| !line.starts_with('#'))
}

/// Reports invalid lines that may be devices: unreadable lines, and devices with an invalid number.
fn invalid_lines(lines: &[(u32, &str)], mut report: impl FnMut(u32, String)) {
    for (number, line) in lines {
        let key = line.split(':').next().unwrap_or_default();
        let digits = key.strip_prefix("net").filter(|_| line.contains(':')).unwrap_or_default();
        let odd = |one: char| (one.is_control() && one != '\t') || one == '\u{fffd}';
        if !is_plain(line) && line.contains(odd) {
            report(*number, "skip line - control character, or not valid UTF-8".to_string());
        } else if net_number(key).is_none() && digits.starts_with(|first: char| first.is_ascii_digit()) {
            report(
                *number,
                format!("skip line - '{}' is not a network device: use net0 to net255", key.escape_debug()),
            );
        }
    }
}

/// The `netN` lines among these: the last one of each key, with its line number.
fn nets<'a>(lines: impl IntoIterator<Item = (u32, &'a str)>) -> BTreeMap<&'a str, (u32, &'a str)> {
    let mut nets = BTreeMap::new();
    for (number, line) in lines.into_iter().filter(|(_, line)| line.starts_with("net")) {
        if let Some((key, value)) = line.split_once(':').filter(|(key, _)| net_number(key).is_some()) {
            nets.insert(key, (number, value.trim()));
        }
    }
    nets
}

/// The `key=value` parts of a `netN` line.
fn parts(value: &str) -> BTreeMap<&str, &str> {
    let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect()
}

fn is_firewalled(parts: &BTreeMap<&str, &str>) -> bool {
    let on = |value: &&str| ["1", "on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word));
    parts.get("firewall").is_some_and(on)
}

fn net_number(key: &str) -> Option<u8> {
    key.strip_prefix("net").and_then(parse_net_index)
}

/// The models of a VM's network card (qm.conf(5)).
const MODELS: [&str; 14] = [
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
];

/// A device, or `None` if it is not firewalled.
fn device(
    netid: &str,
    value: &str,
    guest: &ListedGuest,
    warn: &mut dyn FnMut(String),
) -> Result<Option<Device>, String> {
    let parts = parts(value);
    if !is_firewalled(&parts) {
        let off = |value: &&str| ["0", "off", "no", "false"].iter().any(|word| value.eq_ignore_ascii_case(word));
        return match parts.get("firewall").filter(|value| !off(value)) {
            Some(value) => Err(format!("firewall='{}' is neither on nor off", value.escape_default())),
            None => Ok(None),
        };
    }
    match guest.kind {
        GuestKind::Vm => {
            if model(&parts).is_none() && !parts.get("model").is_some_and(|model| MODELS.contains(model)) {
                return Err("no known network card model".to_string());
            }
        }
        GuestKind::Container if parts.get("name").is_none_or(|name| name.is_empty()) => {
            return Err("no name=".to_string());
        }
        GuestKind::Container => {}
    }
    let mac = match mac_text(&parts, guest.kind) {
        None => None,
        Some(text) => {
            let mac = text.parse().ok().and_then(|mac| Spelled::new(text, mac));
            Some(mac.ok_or_else(|| format!("'{}' is not a MAC address", text.escape_default()))?)
        }
    };
    let ListedGuest { kind, vmid, .. } = *guest;
    let index = net_number(netid).ok_or("its number is not 0 to 255")?;
    let name = GuestDevice { kind, vmid, index }.to_string();
    let name = Interface::new(&name).ok_or_else(|| format!("the device name {name} is longer than 15 characters"))?;
    let addresses = match guest.kind {
        GuestKind::Vm => Vec::new(),
        GuestKind::Container => addresses(&parts, &mut *warn),
    };
    if mac.is_none() {
        warn(format!("no MAC address: no MAC filter for {name}"));
    }
    let trunk = parts.get("trunks").is_some_and(|vlans| !vlans.is_empty());
    Ok(Some(Device { netid: netid.to_string(), name, mac, addresses, trunk }))
}

/// The value of the first part whose key is a known model.
fn model<'a>(parts: &BTreeMap<&str, &'a str>) -> Option<&'a str> {
    parts.iter().find(|(key, _)| MODELS.contains(key)).map(|(_, value)| *value)
}

/// The text of a device's MAC address: for a VM after its model or `macaddr=`, for a container after `hwaddr=`.
fn mac_text<'a>(parts: &BTreeMap<&str, &'a str>, kind: GuestKind) -> Option<&'a str> {
    match kind {
        GuestKind::Vm => model(parts).filter(|mac| !mac.is_empty()).or_else(|| parts.get("macaddr").copied()),
        GuestKind::Container => parts.get("hwaddr").copied(),
    }
}

/// The configured addresses of a container's device; invalid ones are reported.
fn addresses(parts: &BTreeMap<&str, &str>, mut error: impl FnMut(String)) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (key, words) in [("ip", &["dhcp", "manual"][..]), ("ip6", &["auto", "dhcp", "manual"][..])] {
        let Some(value) = parts.get(key).filter(|value| !value.is_empty() && !words.contains(value)) else { continue };
        let net: Option<IpNet> = value.parse().ok();
        match net.map(|net| net.addr()).filter(|address| address.is_ipv4() == (key == "ip")) {
            Some(address) => addresses.push(address),
            None => error(format!("'{}' is not a network address for {key}", value.escape_default())),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: GuestKind, conf: &str) -> (Vec<Device>, Vec<String>) {
        let mut reports = Vec::new();
        let devices = devices(conf.as_bytes(), &ListedGuest::new(kind, 100), &"f".into(), &mut reports);
        (devices, reports.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_that_could_be_devices_are_reported() {
        let (_, reports) = parse(
            GuestKind::Vm,
            "net300: virtio,firewall=1\nnet05: x\nna\u{0}me: x\nnetwork: y\n#\u{0}\n[s]\nnet999: z",
        );
        assert_eq!(
            reports,
            [
                "f (line 1): skip line - 'net300' is not a network device: use net0 to net255",
                "f (line 2): skip line - 'net05' is not a network device: use net0 to net255",
                "f (line 3): skip line - control character, or not valid UTF-8",
            ]
        );
    }

    #[test]
    fn devices_are_read_from_the_running_configuration_of_a_vm() {
        let conf = "net0: virtio=BC:24:11:00:00:01,firewall=1\nnet1: virtio=BC:24:11:00:00:02\n\
            net2: model=e1000,macaddr=bc:24:11:00:00:03,firewall=on,unknown=x\nnet10: virtio,firewall=yes\n\
            net0: virtio=BC:24:11:00:00:09,firewall=1\n#net5: virtio,firewall=1\n[PENDING]\nnet3: virtio,firewall=1\n";
        let (devices, reports) = parse(GuestKind::Vm, conf);
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["tap100i0", "tap100i10", "tap100i2"]);
        assert_eq!(devices[0].mac.as_ref().unwrap().text(), "BC:24:11:00:00:09");
        assert_eq!(reports, ["f (line 4): net10: no MAC address: no MAC filter for tap100i10"]);
    }

    #[test]
    fn an_invalid_device_affects_no_other_device() {
        let conf = "net0: virtio=zz,firewall=1\nnet1: wrong=BC:24:11:00:00:02,firewall=1\nnet2: virtio=BC:24:11:00:00:03,firewall=1\nnet3: virtio=BC:24:11:00:00:04,firewall=\"1\"\nnet4: virtio,firewall=No";
        let (devices, reports) = parse(GuestKind::Vm, conf);
        assert_eq!(devices.len(), 1);
        assert_eq!(
            reports,
            [
                "f (line 1): net0: 'zz' is not a MAC address: no rules for it",
                "f (line 2): net1: no known network card model: no rules for it",
                "f (line 4): net3: firewall='\\\"1\\\"' is neither on nor off: no rules for it",
            ]
        );
    }

    #[test]
    fn trunks_have_a_list_of_vlans() {
        for (rest, trunk) in [("trunks=2;5-9", true), ("trunks=", false), ("tag=5", false)] {
            let (devices, _) = parse(GuestKind::Vm, &format!("net0: virtio=BC:24:11:00:00:01,firewall=1,{rest}"));
            assert_eq!(devices[0].trunk, trunk, "{rest}");
        }
    }

    #[test]
    fn links_include_all_devices() {
        let conf = "net10: virtio=BC:24:11:00:00:09,bridge=vmbr1\nnet2: virtio,bridge=vmbr0,firewall=1\nnet3: virtio\n";
        let links = links(conf.as_bytes(), &ListedGuest::new(GuestKind::Vm, 100));
        let parsed: Vec<_> =
            links.iter().map(|link| (link.device.to_string(), link.bridge.as_deref(), link.firewalled)).collect();
        assert_eq!(
            parsed,
            [
                ("tap100i2".to_string(), Some("vmbr0"), true),
                ("tap100i3".to_string(), None, false),
                ("tap100i10".to_string(), Some("vmbr1"), false),
            ]
        );
    }

    #[test]
    fn links_have_the_addresses_that_the_configuration_gives_them() {
        let parsed = |kind, conf: &str| {
            let links = links(conf.as_bytes(), &ListedGuest::new(kind, 100));
            let text = |link: &Link| format!("{:?} {:?}", link.mac.map(|mac| mac.0[5]), link.addresses);
            links.iter().map(text).collect::<Vec<_>>()
        };
        let conf = "net0: virtio=BC:24:11:00:00:09\nnet1: model=e1000,macaddr=BC:24:11:00:00:0A\nnet2: virtio\n\
            ipconfig0: ip=10.0.0.5/24,gw=10.0.0.1,ip6=fd00::5/64\nipconfig1: ip=dhcp,ip6=auto\n";
        assert_eq!(parsed(GuestKind::Vm, conf), ["Some(9) [10.0.0.5, fd00::5]", "Some(10) []", "None []"]);
        let conf = "net0: name=eth0,hwaddr=BC:24:11:00:00:09,ip=10.0.0.5/24\nipconfig0: ip=10.0.0.6/24\n";
        assert_eq!(parsed(GuestKind::Container, conf), ["Some(9) [10.0.0.5]"]);
    }

    #[test]
    fn addresses_of_containers() {
        let mac = "name=eth0,hwaddr=BC:24:11:AA:BB:CC,firewall=1";
        for (rest, count) in
            [("ip=10.0.0.1/24,ip6=fd00::1/64", 2), ("ip=dhcp,ip6=auto", 0), ("ip=manual", 0), ("ip=10.0.0.1", 0)]
        {
            let (devices, reports) = parse(GuestKind::Container, &format!("net0: {mac},{rest}"));
            assert_eq!(devices.iter().map(|device| device.addresses.len()).sum::<usize>(), count, "{rest} {reports:?}");
        }
    }
}
