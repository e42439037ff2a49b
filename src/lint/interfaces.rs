//! Rules for interfaces on which the node neither receives nor sends packets.
use super::parsed_files::Files;
use super::suggest::nearest_name;
use crate::config::{Configuration, Rule};
use crate::inputs::{Facts, Interfaces};
use crate::model::guest::{GuestDevice, is_bridge_link};
use crate::model::{Interface, Report};
use std::sync::Arc;

/// The interfaces of the node, with which names in rules are compared.
struct NodeInterfaces<'a> {
    facts: &'a Facts,
    /// The interfaces of the node; none if they are not known.
    interfaces: &'a Interfaces,
    /// Whether the cluster has other nodes, whose interfaces may be used in rules of cluster.fw.
    others: bool,
}

/// Checks the interfaces of the rules of host.fw and cluster.fw.
pub fn interfaces(
    files: &Files<'_>,
    configuration: &Configuration,
    facts: &Facts,
    all: &Interfaces,
    reports: &mut Vec<Report>,
) {
    let none = Interfaces::default();
    let known = if is_of_node(files, configuration, facts, all) { all } else { &none };
    let node = NodeInterfaces { facts, interfaces: known, others: files.other_nodes };
    for (file, rules) in [(&files.host.file, &files.host.rules), (&files.cluster.file, &files.cluster.rules)] {
        let of_all = Arc::ptr_eq(file, &files.cluster.file) && node.others;
        for Rule { line, place: _, iface, action: _ } in rules {
            if let Some(text) = iface.as_deref().and_then(|name| node.problem(name, of_all)) {
                reports.push(Report::warning(file, *line, text));
            }
        }
    }
}

/// Whether the interfaces are those of the node, and not those of another machine on which a copy of its configuration is
/// checked: one of them has the node's address, or is used in the configuration.
fn is_of_node(files: &Files<'_>, configuration: &Configuration, facts: &Facts, all: &Interfaces) -> bool {
    let own = configuration.network.localnet.address;
    let of_rules = files.host.rules.iter().chain(&files.cluster.rules).filter_map(|rule| rule.iface.as_deref());
    let mut named = of_rules.chain(files.bridges.iter().map(String::as_str));
    facts.addresses.iter().any(|one| Some(one.net.addr()) == own)
        || named.any(|name| name != LOOPBACK && (all.has(name) || facts.altnames.contains_key(name)))
}

/// Whether a copy of the node's configuration is checked on another machine, which has another name and not the node's address.
pub fn is_copy(configuration: &Configuration, facts: &Facts, all: &Interfaces) -> bool {
    let own = configuration.network.localnet.address;
    all.host_name_differs && !facts.addresses.iter().any(|one| Some(one.net.addr()) == own)
}

const LOOPBACK: &str = "lo";

impl NodeInterfaces<'_> {
    /// Why no packet matches a rule with this interface.
    fn problem(&self, name: &str, of_all_nodes: bool) -> Option<String> {
        let real = self.facts.altnames.get(name).map_or(name, String::as_str);
        if real == LOOPBACK {
            return Some(format!(
                "'{name}' passes before all rules: packets of the loopback interface are always accepted"
            ));
        }
        if let Some(master) = self.interfaces.master(real) {
            let instead = match master {
                // the kernel's own interface for all bridges of Open vSwitch
                "ovs-system" => "packets to the node come by the interface of its bridge".to_string(),
                _ => format!("packets to the node come by '{master}': did you mean '{master}'?"),
            };
            return Some(format!(
                "'{name}' is a port of a bridge, bond or VRF, so no packet matches this rule; {instead}"
            ));
        }
        if let Some(device) = GuestDevice::parse(real) {
            return Some(format!(
                "'{name}' is a device of guest {0}, so no packet to or from the node matches this rule; rules for the guest \
                 belong in firewall/{0}.fw, with '-i net{1}'",
                device.vmid, device.index
            ));
        }
        if is_bridge_link(real) {
            return Some(format!(
                "'{name}' belongs to the firewall of a guest, so no packet to or from the node matches this rule; rules for \
                 guests belong in firewall/VMID.fw"
            ));
        }
        if self.interfaces.has(real) {
            return None;
        }
        if let Some(text) = no_name(name, real) {
            return Some(text);
        }
        let near = nearest_name(real, self.interfaces.names());
        let unknown = match self.interfaces.names().next() {
            // without a list of interfaces, only the length of a name can be checked
            None => name.len() > Interface::MAX && !self.facts.altnames.contains_key(name),
            Some(_) => !of_all_nodes || near.is_some(),
        };
        unknown.then(|| {
            let hint = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            format!("no interface of this node has the name '{name}': no packet matches this rule{hint}")
        })
    }
}

/// Why a name cannot be that of an interface.
fn no_name(name: &str, real: &str) -> Option<String> {
    if let Some((base, _)) = real.split_once(':') {
        return Some(format!(
            "packets never have the name of an address label such as '{name}': did you mean '{base}'?"
        ));
    }
    if real
        .strip_prefix("net")
        .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Some(format!(
            "'{name}' is a name for devices of guests, so no packet matches this rule; the node's interfaces have names \
             such as vmbr0"
        ));
    }
    if matches!(name, "any" | "all" | "*") {
        return Some(format!(
            "'{name}' is read as the name of an interface, so no packet matches this rule; a rule without -i matches \
             every interface"
        ));
    }
    if name.starts_with('!') {
        return Some(
            "an interface cannot be excluded, so no packet matches this rule: write a rule for each other one"
                .to_string(),
        );
    }
    None
}
