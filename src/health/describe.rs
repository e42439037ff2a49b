//! Findings as text: the problem, what it affects, and the remedy.
use super::evidence::{EncapsulatedFrame, Evidence, NatSource, Scope};
use super::nat::guests_behind;
use super::{Finding, Guests};
use crate::model::{Direction, Family};
use serde::{Deserialize, Serialize};

/// What is affected by a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// The node itself.
    pub node: bool,
    /// The guests, by VMID.
    pub guests: Guests,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Some packets are not filtered as configured.
    Warning,
    /// All packets of the node or of a guest are unfiltered.
    Unfiltered,
}

fn setting(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.bridge.bridge-nf-call-iptables",
        Family::V6 => "net.bridge.bridge-nf-call-ip6tables",
    }
}

fn tool(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// The program that changes a table, such as `ip6tables` of `ip6tables filter`.
fn program(table: &str) -> &str {
    table.split(' ').next().unwrap_or(table)
}

/// All kinds of findings.
pub const KINDS: [&str; 18] = [
    "accepted-before",
    "dropped-behind",
    "nat-without-zone",
    "dnat-past-the-node",
    "bridge-filtering-off",
    "no-physdev",
    "not-on-firewall-bridge",
    "carried-past",
    "not-inspected",
    "both-backends",
    BACKEND_ABSENT,
    "backend-stopped",
    "other-variant",
    "dropped-elsewhere",
    "no-bridge-conntrack",
    "not-bridged",
    "not-judged",
    STALLED,
];

/// The kind of the finding that the selected backend's rules are not live.
pub const BACKEND_ABSENT: &str = "backend-absent";

/// What is wrong if the daemon of the selected backend was killed.
const STOPPED: &str =
    "host.fw has nftables: 1, and proxmox-firewall was killed: its rules filter, but no change is applied";

/// The kind of the finding that the daemon is running and completes no cycle, which `status` adds.
pub const STALLED: &str = "daemon-stalled";

impl Finding {
    /// Its kind, one of [`KINDS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Finding::AcceptedBefore { .. } => "accepted-before",
            Finding::DroppedAfter { .. } => "dropped-behind",
            Finding::NatWithoutZone { .. } => "nat-without-zone",
            Finding::PastTheNode { .. } => "dnat-past-the-node",
            Finding::BridgeFilteringOff { .. } => "bridge-filtering-off",
            Finding::NoPhysdev { .. } => "no-physdev",
            Finding::NotOnFirewallBridge { .. } => "not-on-firewall-bridge",
            Finding::IptablesBypassed(_) => "carried-past",
            Finding::NotInspected { .. } => "not-inspected",
            Finding::BothBackends { .. } => "both-backends",
            Finding::BackendAbsent { .. } => BACKEND_ABSENT,
            Finding::BackendStopped => "backend-stopped",
            Finding::OtherVariant { .. } => "other-variant",
            Finding::Nftables(finding) => finding.kind(),
            Finding::NotEvaluated { .. } => "not-judged",
        }
    }

    /// Its severity.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Finding::AcceptedBefore { all: true, .. }
            | Finding::BridgeFilteringOff { .. }
            | Finding::NoPhysdev { .. }
            | Finding::NotOnFirewallBridge { .. }
            | Finding::BackendAbsent { instead: false } => Severity::Unfiltered,
            Finding::AcceptedBefore { all: false, .. }
            | Finding::DroppedAfter { .. }
            | Finding::NatWithoutZone { .. }
            | Finding::PastTheNode { .. }
            | Finding::IptablesBypassed(_)
            | Finding::NotInspected { .. }
            | Finding::BothBackends { .. }
            | Finding::BackendAbsent { instead: true }
            | Finding::BackendStopped
            | Finding::OtherVariant { .. }
            | Finding::NotEvaluated { .. } => Severity::Warning,
            Finding::Nftables(finding) => finding.severity(),
        }
    }

    /// What is affected.
    #[must_use]
    pub fn affected(&self, evidence: &Evidence, scope: &Scope) -> Affected {
        let all: Guests = scope.devices.iter().map(|device| device.vmid).collect();
        let (node, guests) = match self {
            Finding::AcceptedBefore { chain, .. } if chain != "FORWARD" => (true, Guests::new()),
            Finding::AcceptedBefore { .. }
            | Finding::DroppedAfter { .. }
            | Finding::BridgeFilteringOff { .. }
            | Finding::NoPhysdev { .. } => (false, all),
            Finding::NatWithoutZone { table, rule } => {
                let family = if table.starts_with("ip6") { Family::V6 } else { Family::V4 };
                let words = rule.split(' ').skip_while(|word| *word != "-s").nth(1);
                let source = words.and_then(|net| net.parse().ok()).map_or(NatSource::Any, NatSource::Net);
                (false, guests_behind(family, source, evidence, scope))
            }
            Finding::PastTheNode { .. } => (true, Guests::new()),
            Finding::NotOnFirewallBridge { device, .. }
            | Finding::IptablesBypassed(EncapsulatedFrame { device, .. }) => (false, [device.vmid].into()),
            Finding::NotInspected { queues, .. } => {
                let guests = scope.inspected.iter().filter(|(_, of_guest)| *of_guest == queues);
                (false, guests.map(|(vmid, _)| *vmid).collect())
            }
            Finding::Nftables(finding) => return finding.affected(scope),
            Finding::BothBackends { .. }
            | Finding::BackendAbsent { .. }
            | Finding::BackendStopped
            | Finding::OtherVariant { .. }
            | Finding::NotEvaluated { .. } => (scope.host, all),
        };
        Affected { node, guests }
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Finding::AcceptedBefore { table, chain, rule, by, all } => {
                let packets = if *all { "all packets" } else { "packets" };
                let by = by.as_ref().map(|by| format!(", by '{by}'")).unwrap_or_default();
                format!("a rule of another program accepts {packets} before ours: {table}: -A {chain} {rule}{by}")
            }
            Finding::DroppedAfter { table, chain, rule } => {
                let what = match rule {
                    Some(rule) => format!("-A {chain} {rule}"),
                    None => format!("the policy of {chain} is DROP"),
                };
                format!("packets from guests that our rules accept are dropped after them: {table}: {what}")
            }
            Finding::NatWithoutZone { table, rule } => format!(
                "source NAT does not apply to guests behind firewall bridges, for which connection tracking needs a \
                 separate zone: {table}: {rule}"
            ),
            Finding::PastTheNode { table, rule } => {
                format!("destination NAT bypasses the rules of the node: {table}: {rule}")
            }
            Finding::BridgeFilteringOff { family, missing } => bridge_filtering_off(*family, *missing),
            Finding::NoPhysdev { family } => {
                format!("guests are not filtered by {}: the kernel refuses rules with the match physdev", tool(*family))
            }
            Finding::NotOnFirewallBridge { device, bridge } => {
                let own = device.bridge();
                format!("{device} has firewall=1 but is a port of {bridge} and not of {own}: it is not filtered")
            }
            Finding::IptablesBypassed(EncapsulatedFrame { device, direction, encapsulation }) => {
                let way = if *direction == Direction::In { "to" } else { "from" };
                format!(
                    "packets {way} {device} in frames with {} are not filtered by address or port",
                    encapsulation.name()
                )
            }
            Finding::NotInspected { unread, .. } => format!(
                "ips is 1, but no program reads {}: accepted packets pass without inspection",
                queue_list(unread)
            ),
            Finding::BothBackends { tables } => {
                format!("the tables of the nftables backend are also in force: {}", tables.join(", "))
            }
            Finding::BackendAbsent { instead: true } => {
                "host.fw has nftables: 1, but the tables of proxmox-firewall are not live: this firewall \
                                       continues to filter"
                    .into()
            }
            Finding::BackendAbsent { instead: false } => {
                "host.fw has nftables: 1, but the tables of proxmox-firewall are not live: nothing is filtered".into()
            }
            Finding::BackendStopped => STOPPED.into(),
            Finding::Nftables(finding) => finding.text(),
            Finding::OtherVariant { tool } => {
                format!("chains of this firewall are also live in {tool}, and in force")
            }
            Finding::NotEvaluated { table, why } => {
                format!("cannot evaluate the rules of other programs in {table}: {why}")
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Finding::AcceptedBefore { table, chain, rule, .. } => {
                let program = program(table);
                format!(
                    "if the configuration should decide, delete the rule with '{program} -D {chain} {rule}' and configure the \
                     program that adds it"
                )
            }
            Finding::DroppedAfter { table, chain, rule } => remedy_after(table, chain, rule.as_deref()),
            Finding::NatWithoutZone { table, .. } => {
                let program = if table.starts_with("ip6") { "ip6tables" } else { "iptables" };
                format!("'{program} -t raw -I PREROUTING -i fwbr+ -j CT --zone 1', also as post-up in /etc/network/interfaces")
            }
            Finding::PastTheNode { .. } => "publish the port on 127.0.0.1 only, or filter it in the chain that the program has for \
                                            that, such as DOCKER-USER"
                .into(),
            Finding::BridgeFilteringOff { family, missing: false } => {
                format!("'sysctl -w {}=1'; find out why it cannot be written, see 'status --verbose'", setting(*family))
            }
            Finding::BridgeFilteringOff { missing: true, .. } => {
                "'modprobe br_netfilter', and check that /etc/modules-load.d and /etc/modprobe.d do not prevent it".into()
            }
            Finding::NoPhysdev { .. } => "'modprobe xt_physdev', and check that the running kernel's modules are installed".into(),
            Finding::NotOnFirewallBridge { device, .. } => format!(
                "replug the device: stop and start guest {}, or detach net{} and attach it again with firewall=1",
                device.vmid, device.index
            ),
            Finding::IptablesBypassed(EncapsulatedFrame { encapsulation, .. }) => {
                let trunk = if encapsulation.is_tag() { ", unless the device is a trunk: then set trunks= for it" } else { "" };
                format!("add --strict-layer2 to START_OPTIONS in /etc/default/pve-firewall, which drops them{trunk}")
            }
            Finding::NotInspected { unread, .. } => format!(
                "start the IPS on {}, such as with NFQUEUE in /etc/default/suricata, or set ips_queues to the queues that it reads",
                queue_list(unread)
            ),
            Finding::BothBackends { tables } => {
                let delete: Vec<_> = tables.iter().map(|table| format!("nft delete table {table}")).collect();
                format!("make sure that proxmox-firewall is running, which removes them, or '{}'", delete.join("; "))
            }
            Finding::BackendStopped => "'systemctl restart proxmox-firewall'".into(),
            Finding::BackendAbsent { .. } => {
                "'systemctl status proxmox-firewall', or set 'nftables: 0' in host.fw".into()
            }
            Finding::Nftables(finding) => finding.remedy(),
            Finding::OtherVariant { .. } => {
                "this firewall removes them with the next full reading; if they stay, see 'status --verbose' for the error".into()
            }
            Finding::NotEvaluated { .. } => {
                "check the rules before the jumps to PVEFW chains: packets that they accept are not filtered".into()
            }
        }
    }
}

fn bridge_filtering_off(family: Family, missing: bool) -> String {
    let (tool, setting) = (tool(family), setting(family));
    let why = match missing {
        false => format!("{setting} is 0 and cannot be set"),
        true => format!("the kernel has no {setting}, so br_netfilter is not loaded"),
    };
    format!("guests are not filtered by {tool}: {why}")
}

/// `queue 0`, or `queues 0, 2:3`
fn queue_list(ranges: &[(u16, u16)]) -> String {
    let range = |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}:{last}") };
    let one = matches!(ranges, [(first, last)] if first == last);
    format!("queue{} {}", if one { "" } else { "s" }, ranges.iter().map(range).collect::<Vec<_>>().join(", "))
}

/// What to do about a chain that drops what our rules accept.
fn remedy_after(table: &str, chain: &str, rule: Option<&str>) -> String {
    let program = program(table);
    match (table.strip_prefix("nftables "), rule) {
        (Some(table), _) => {
            format!(
                "accept bridged packets in the chain '{chain}' of 'nft list table {table}', or set its policy to accept"
            )
        }
        (None, Some(rule)) => format!("delete the rule with '{program} -D {chain} {rule}'"),
        (None, None) => {
            format!(
                "'{program} -A {chain} -m physdev --physdev-is-bridged -j ACCEPT', or '{program} -P {chain} ACCEPT'"
            )
        }
    }
}
