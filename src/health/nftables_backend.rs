//! Findings on a node that the nftables backend filters. A packet needs an accept from each table: a table of another program
//! cannot accept what ours drop, but can drop what ours accept.
use super::describe::{Affected, BACKEND_ABSENT, Severity};
use super::evidence::{Enforcer, Evidence, NftChain, Scope};
use super::unread_queues::not_inspected;
use super::unread_tables::not_read;
use super::{Finding, Guests, MAX_COUNT};
use crate::model::guest::GuestDevice;

/// The interface that represents all ports of Open vSwitch.
const OPEN_VSWITCH: &str = "ovs-system";

/// Reasons why packets are not filtered as configured on a node that the nftables backend filters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NftFinding {
    /// The chains of pve-firewall are also live.
    ChainsAlsoLive,
    /// host.fw does not select nftables, but the chains of pve-firewall are not live: the tables stay.
    ChainsAbsent,
    /// Packets that our tables accept are dropped in a table of another program.
    DroppedElsewhere {
        /// The table with its family or tool.
        table: String,
        /// The tool that changes the table, if it is one of the legacy tools.
        legacy: Option<&'static str>,
        /// The base chain.
        chain: String,
        /// Whether its policy drops them, or else a rule.
        policy: bool,
        /// Whether these are bridged packets.
        bridged: bool,
    },
    /// The kernel refuses rules about connections in bridges.
    NoBridgeConntrack,
    /// A device with `firewall=1` that is a port of Open vSwitch, whose packets do not pass the hooks of bridges.
    NotBridged {
        /// The device.
        device: GuestDevice,
    },
}

impl NftFinding {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            NftFinding::ChainsAlsoLive => "both-backends",
            NftFinding::ChainsAbsent => BACKEND_ABSENT,
            NftFinding::DroppedElsewhere { .. } => "dropped-elsewhere",
            NftFinding::NoBridgeConntrack => "no-bridge-conntrack",
            NftFinding::NotBridged { .. } => "not-bridged",
        }
    }

    pub(super) fn severity(&self) -> Severity {
        match self {
            NftFinding::NotBridged { .. } => Severity::Unfiltered,
            NftFinding::ChainsAlsoLive
            | NftFinding::ChainsAbsent
            | NftFinding::DroppedElsewhere { .. }
            | NftFinding::NoBridgeConntrack => Severity::Warning,
        }
    }

    pub(super) fn affected(&self, scope: &Scope) -> Affected {
        let all = || scope.devices.iter().map(|device| device.vmid).collect();
        let (node, guests) = match self {
            NftFinding::ChainsAlsoLive | NftFinding::ChainsAbsent => (scope.host, all()),
            NftFinding::DroppedElsewhere { bridged: true, .. } | NftFinding::NoBridgeConntrack => (false, all()),
            NftFinding::DroppedElsewhere { bridged: false, .. } => (true, Guests::new()),
            NftFinding::NotBridged { device } => (false, [device.vmid].into()),
        };
        Affected { node, guests }
    }

    pub(super) fn text(&self) -> String {
        match self {
            NftFinding::ChainsAlsoLive => "the chains of pve-firewall are also in force".into(),
            NftFinding::ChainsAbsent => {
                "host.fw does not have nftables: 1, but the chains of pve-firewall are not live: this firewall continues to \
                 filter"
                    .into()
            }
            NftFinding::DroppedElsewhere { table, chain, policy, .. } => {
                let what = if *policy { "the policy" } else { "a rule" };
                format!(
                    "packets that our rules accept are dropped by another program: {table}: {what} of {chain} drops the rest"
                )
            }
            NftFinding::NoBridgeConntrack => {
                "connections of guests are not tracked: the kernel refuses rules about connections in bridges".into()
            }
            NftFinding::NotBridged { device } => {
                format!("{device} has firewall=1 but is a port of Open vSwitch and not of a bridge: it is not filtered")
            }
        }
    }

    pub(super) fn remedy(&self) -> String {
        match self {
            NftFinding::ChainsAlsoLive => {
                "'pve-firewall stop', or make sure that its daemon is running, which removes them".into()
            }
            NftFinding::ChainsAbsent => "'systemctl status pve-firewall', or set 'nftables: 1' in host.fw".into(),
            NftFinding::DroppedElsewhere { legacy: Some(tool), table, chain, policy, .. } => {
                let table = table.rsplit(' ').next().unwrap_or(table);
                let end = if *policy {
                    format!("set its policy with '{tool} -t {table} -P {chain} ACCEPT'")
                } else {
                    "delete the rule".to_string()
                };
                format!(
                    "accept these packets in the chain {chain} of '{tool} -t {table} -S' as well, or {end}: each table decides for \
                     itself"
                )
            }
            NftFinding::DroppedElsewhere { legacy: None, table, chain, .. } => format!(
                "accept these packets in the chain '{chain}' of 'nft list table {table}' as well, or set its policy to accept: \
                 each table decides for itself"
            ),
            NftFinding::NoBridgeConntrack => {
                "'modprobe nf_conntrack_bridge', and check that the running kernel's modules are installed".into()
            }
            NftFinding::NotBridged { device } => format!(
                "stop and start guest {}: the device then gets a firewall bridge, as for every bridge of Open vSwitch",
                device.vmid
            ),
        }
    }
}

/// All findings, each once.
pub fn evaluate(evidence: &Evidence, scope: &Scope) -> Vec<Finding> {
    let guests = !scope.devices.is_empty();
    let chains = evidence.chains.iter().filter(|chain| if chain.bridged { guests } else { scope.host });
    let mut found: Vec<Finding> = chains.filter_map(dropped_elsewhere).take(MAX_COUNT).collect();
    found.extend((evidence.untracked && guests).then_some(Finding::Nftables(NftFinding::NoBridgeConntrack)));
    let attached = |name: &str| evidence.attached.get(name).and_then(Option::as_deref);
    for device in scope.devices.iter().filter(|device| attached(&device.to_string()) == Some(OPEN_VSWITCH)) {
        found.push(Finding::Nftables(NftFinding::NotBridged { device: *device }));
    }
    found.extend(evidence.carried.iter().map(|carried| Finding::IptablesBypassed(*carried)));
    found.extend(not_inspected(&evidence.queues, scope));
    found.extend(not_read(evidence));
    match scope.enforcer {
        Enforcer::NftablesAndChains => found.push(Finding::Nftables(NftFinding::ChainsAlsoLive)),
        Enforcer::NftablesInstead => found.push(Finding::Nftables(NftFinding::ChainsAbsent)),
        _ => {}
    }
    found.sort();
    found.dedup();
    found
}

fn dropped_elsewhere(chain: &NftChain) -> Option<Finding> {
    let NftChain { table, legacy, chain, forwards: _, drops, bridged, unconditional_drop } = chain;
    let policy = unconditional_drop.is_none();
    let (table, chain) = (table.clone(), chain.clone());
    let finding = NftFinding::DroppedElsewhere { table, legacy: *legacy, chain, policy, bridged: *bridged };
    unconditional_drop.unwrap_or(*drops).then_some(Finding::Nftables(finding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn scope(enforcer: Enforcer) -> Scope {
        let devices = vec![GuestDevice::parse("tap100i0").unwrap()];
        Scope { host: true, devices, enforcer, ..Scope::default() }
    }

    fn found(change: &dyn Fn(&mut Evidence)) -> Vec<Finding> {
        let mut evidence = Evidence::default();
        change(&mut evidence);
        evaluate(&evidence, &scope(Enforcer::NftablesHere))
    }

    #[test]
    fn tables_of_others_can_drop_and_not_accept() {
        let legacy = Some("iptables-legacy");
        for (drops, unconditional_drop, closes) in [
            (false, None, false),
            (true, None, true),
            (true, Some(false), false),
            (true, Some(true), true),
            (false, Some(true), true),
            (false, Some(false), false),
        ] {
            for (table, legacy, bridged) in
                [("inet fw", None, false), ("bridge fw", None, true), ("iptables-legacy filter", legacy, false)]
            {
                let (table, name) = (table.to_string(), "input".to_string());
                let chain = NftChain {
                    table: table.clone(),
                    legacy,
                    chain: name.clone(),
                    forwards: false,
                    drops,
                    bridged,
                    unconditional_drop,
                };
                let expected = Finding::Nftables(NftFinding::DroppedElsewhere {
                    table,
                    legacy,
                    chain: name,
                    policy: unconditional_drop.is_none(),
                    bridged,
                });
                let evidence = |evidence: &mut Evidence| evidence.chains = vec![chain.clone()];
                assert_eq!(
                    found(&evidence),
                    Vec::from_iter(closes.then_some(expected)),
                    "{drops} {unconditional_drop:?}"
                );
            }
        }
    }

    #[test]
    fn conditions_that_bypass_guests_rules_are_found() {
        assert_eq!(found(&|_| {}), []);
        assert_eq!(found(&|evidence| evidence.untracked = true), [Finding::Nftables(NftFinding::NoBridgeConntrack)]);
        for (bridge, expected) in [("vmbr0", false), ("vmbr0v5", false), ("fwbr100i0", false), (OPEN_VSWITCH, true)] {
            let attached = [("tap100i0".to_string(), Some(bridge.to_string()))];
            let found = found(&|evidence| evidence.attached = Arc::new(attached.clone().into()));
            let device = GuestDevice::parse("tap100i0").unwrap();
            assert_eq!(
                found,
                Vec::from_iter(expected.then_some(Finding::Nftables(NftFinding::NotBridged { device }))),
                "{bridge}"
            );
        }
        let inspected = Scope { inspected: [(100, (0, 1))].into(), ..scope(Enforcer::NftablesHere) };
        let read = |queues: &[u16]| Evidence { queues: queues.iter().copied().collect(), ..Evidence::default() };
        let unread = Finding::NotInspected { queues: (0, 1), unread: vec![(1, 1)] };
        assert_eq!(evaluate(&read(&[0]), &inspected), [unread]);
        assert_eq!(evaluate(&read(&[0, 1]), &inspected), []);
        let beside = evaluate(&Evidence::default(), &scope(Enforcer::NftablesAndChains));
        assert_eq!(beside, [Finding::Nftables(NftFinding::ChainsAlsoLive)]);
        assert_eq!(
            evaluate(&Evidence::default(), &scope(Enforcer::NftablesInstead)),
            [Finding::Nftables(NftFinding::ChainsAbsent)]
        );
    }
}
