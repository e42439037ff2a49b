//! The simulators of both backends give the same verdict for random packets and configurations, except for the differences listed
//! in `docs/nftables.md`, each by its number there.
use crate::random::{config, format_files, packets};
use crate::testbed::probe::Probe;
use crate::testbed::{self, DEVICES, Endpoint};
use crate::{nft_trees, trees};
use fastrand::Rng;
use pve_firewall::model::{CtState, Family, Origin, Verdict};
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::Ruleset;
use pve_firewall::simulate::{Decided, Layer, Packet, Sent};
use pve_firewall::{iptables, nftables};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const CONFIGURATIONS: u64 = 200;
/// The number of configurations with `PVEFW_LONG_TESTS`.
const MANY_CONFIGURATIONS: u64 = 900;
/// The number of packets for each configuration.
const PACKETS: usize = 25;

/// A packet and the results of both backends.
pub struct Compared<'a> {
    files: &'a BTreeMap<String, String>,
    rules: &'a Ruleset,
    probe: &'a Probe,
    iptables: Decided,
    nftables: Decided,
}

/// A difference: its number in `docs/nftables.md`, and whether it explains two different results.
type Difference = (u64, fn(&Compared<'_>) -> bool);

/// The first difference that explains the results is taken.
pub const DIFFERENCES: [Difference; 17] = [
    // layer2_protocols without IP drops IP packets
    (29, |compared| compared.nftables_by("layer2_protocols: ")),
    // ICMP errors are accepted before connection tracking
    (32, |compared| compared.is_error() && compared.verdicts().1 == Verdict::Accept),
    // REJECT of a packet to a guest drops it
    (33, |compared| {
        let guest = matches!(compared.probe.to, Endpoint::Guest(_));
        guest && compared.verdicts() == (Verdict::Reject, Verdict::Drop) && compared.same_rule()
    }),
    // packets to an unfiltered device pass no chain
    (38, |compared| {
        let standard = ["invalid connection state", "PVEFW-smurfs", "PVEFW-tcpflags", "set blacklist"];
        let refused = compared.verdicts() == (Verdict::Drop, Verdict::Accept);
        compared.is_unfiltered(compared.probe.to) && refused && standard.iter().any(|one| compared.iptables_by(one))
    }),
    // a policy accepts IGMP and MLD only to multicast addresses
    (39, |compared| {
        // a packet that the policy of the sender accepts may be for the node
        ["for multicast snooping", "IGMP of the host"].iter().any(|one| compared.iptables_by(one))
            && !compared.probe.packet.dest.is_some_and(|dest| dest.is_multicast())
    }),
    // the set management contains the networks of the node's other addresses
    (37, |compared| {
        let management = ["+management", "+dc/management", "set management"];
        compared.family() == Some(Family::V6) && management.iter().any(|one| compared.nftables_by(one))
    }),
    // ICMPv6 redirects are part of `ndp` when incoming, of `radv` when outgoing
    (35, |compared| {
        let redirect = matches!(compared.probe.packet.icmp, Some((137, _)));
        let discovery = ["neighbour discovery", "ndp", "radv"].iter().any(|one| compared.nftables_by(one));
        redirect && compared.family() == Some(Family::V6) && discovery
    }),
    // `radv: 1` accepts router advertisements of a guest also with `ndp: 0`
    (44, |compared| {
        let advertised = matches!(compared.probe.packet.icmp, Some((134, _))) && compared.family() == Some(Family::V6);
        let text = match compared.probe.from {
            Endpoint::Guest(index) => compared.files.get(&format!("firewall/{}.fw", DEVICES[index].vmid)),
            Endpoint::Host | Endpoint::Outside => None,
        };
        let only = text.is_some_and(|text| text.contains("\nndp: 0\n") && text.contains("\nradv: 1\n"));
        advertised && only && compared.verdicts().1 == Verdict::Accept
    }),
    // `dhcp: 0` and `ndp: 0` drop the packets
    (34, |compared| ["dhcp: 0", "ndp: 0"].iter().any(|off| compared.nftables_by(off))),
    // `ebtables: 0` does not switch the filters for ARP and other ethertypes off
    (40, |compared| {
        let off = compared.files["firewall/cluster.fw"].contains("\nebtables: 0\n");
        let filter = ["macfilter", "ipfilter", "layer2_protocols"].iter().any(|one| compared.nftables_by(one));
        off && compared.family().is_none() && compared.verdicts() == (Verdict::Accept, Verdict::Drop) && filter
    }),
    // rules and policies of guests apply to all ethertypes
    (36, |compared| {
        let other = matches!(compared.probe.packet.layer, Layer::Other(_));
        other && compared.verdicts() == (Verdict::Accept, Verdict::Drop)
    }),
    // rules apply to IP packets with a tag, and layer2_protocols lists the protocol behind it
    (43, |compared| {
        let tagged = compared.probe.packet.frame.tagged;
        tagged && (compared.verdicts().0 == Verdict::Accept || compared.iptables_by("layer2_protocols"))
    }),
    // the blacklist comes before neighbour discovery and known connections
    (5, |compared| {
        let discovery = matches!(compared.probe.packet.icmp, Some((133..=137, _)));
        let blacklist = compared.files["firewall/cluster.fw"].contains("\n[IPSET blacklist]\n");
        blacklist
            && compared.verdicts() == (Verdict::Accept, Verdict::Drop)
            && (discovery || compared.iptables_by("established"))
    }),
    // spoofed sources are dropped before DHCP is accepted
    (7, |compared| {
        let spoofed = compared.nftables_by("macfilter") || compared.nftables_by("ipfilter");
        compared.is_dhcp() && spoofed
    }),
    // in a bridge, a packet in a unicast frame is not a broadcast
    (12, |compared| {
        let standard = ["PVEFW-smurfs", "PVEFW-DropBroadcast"].iter().any(|one| compared.iptables_by(one));
        let answered = compared.verdicts().1 == Verdict::Reject && compared.same_rule();
        compared.has_broadcast_address() && compared.verdicts().0 == Verdict::Drop && (standard || answered)
    }),
    // a connection is tracked once on a packet's path, so a packet is never a reply to itself
    (41, |compared| {
        // with an IPS, the option of the IPS accepts known connections
        let known = ["established", "ips: 1"].iter().any(|one| compared.iptables_by(one));
        compared.probe.packet.is_its_own_answer() && known && compared.verdicts().0 == Verdict::Accept
    }),
    // with iptables, a GROUP rule for another interface accepts packets that an earlier chain marked
    (42, |compared| {
        let line = compared.text(&compared.iptables);
        let interface = line.strip_prefix("GROUP ").and_then(|rest| rest.split_once(" -i ")).map(|(_, name)| name);
        compared.probe.to == Endpoint::Host
            && compared.verdicts().0 == Verdict::Accept
            && interface.is_some_and(|name| name != format!("vmbr{}", compared.probe.from.bridge()))
    }),
];

impl Compared<'_> {
    fn verdicts(&self) -> (Verdict, Verdict) {
        (self.iptables.verdict, self.nftables.verdict)
    }

    /// Whether the same line decided. With iptables, packets that a REJECT policy drops without logging are in a separate chain.
    fn same_rule(&self) -> bool {
        self.iptables.origin == self.nftables.origin || self.iptables_by("chain PVEFW-Reject")
    }

    /// The line or the description of the rule that decided.
    fn text(&self, decided: &Decided) -> String {
        match &decided.origin {
            Some(Origin::Line(file, line)) => {
                let path = file.strip_prefix("/etc/pve/").expect("a file of the configuration");
                self.files[path].lines().nth(*line as usize - 1).expect("a line of the file").to_string()
            }
            Some(origin @ (Origin::Default(..) | Origin::Generated(_))) => origin.to_string(),
            None => String::new(),
        }
    }

    fn iptables_by(&self, text: &str) -> bool {
        self.text(&self.iptables).contains(text)
    }

    fn nftables_by(&self, text: &str) -> bool {
        self.text(&self.nftables).contains(text)
    }

    fn family(&self) -> Option<Family> {
        match self.probe.packet.layer {
            Layer::Ip(family) => Some(family),
            Layer::Arp | Layer::Other(_) => None,
        }
    }

    /// Whether the packet is a DHCP request.
    fn is_dhcp(&self) -> bool {
        let packet = &self.probe.packet;
        packet.protocol == Packet::UDP
            && matches!((packet.sport, packet.dport), (Some(68), Some(67)) | (Some(546), Some(547)))
    }

    /// Whether the packet is an ICMP error without a known connection.
    fn is_error(&self) -> bool {
        let kind = self.probe.packet.icmp.map(|(kind, _)| kind);
        let error = match self.family() {
            Some(Family::V4) => matches!(kind, Some(3 | 4 | 11)),
            Some(Family::V6) => matches!(kind, Some(1..=4)),
            None => false,
        };
        error && self.probe.packet.state == Some(CtState::Invalid)
    }

    /// Whether no rules apply to packets of an endpoint.
    fn is_unfiltered(&self, endpoint: Endpoint) -> bool {
        let maps = self.rules.tables.get(&TableName::Guests).into_iter().flat_map(|table| table.maps.values());
        let mut devices = maps.flat_map(|map| &map.elements).map(|(device, _)| device.as_str());
        match endpoint {
            Endpoint::Host => !self.rules.tables.contains_key(&TableName::Host),
            Endpoint::Outside => true,
            Endpoint::Guest(index) => devices.all(|device| device != DEVICES[index].name()),
        }
    }

    /// Whether an address of the packet is a broadcast address; the unspecified address is one for the kernel.
    fn has_broadcast_address(&self) -> bool {
        let packet = &self.probe.packet;
        let mut broadcasts =
            testbed::broadcasts().into_iter().chain([Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED]).map(IpAddr::V4);
        broadcasts.any(|address| [packet.source, packet.dest].contains(&Some(address)))
    }

    fn difference(&self) -> Option<u64> {
        DIFFERENCES.iter().find(|(_, explains)| explains(self)).map(|(number, _)| *number)
    }
}

#[test]
fn both_backends_give_the_same_verdict_or_differ_as_listed() {
    let facts = nft_trees::facts();
    let broadcasts = testbed::broadcasts();
    let (mut verdicts, mut differences) = (BTreeMap::new(), BTreeMap::new());
    let long = std::env::var_os("PVEFW_LONG_TESTS").is_some();
    for seed in 1..=if long { MANY_CONFIGURATIONS } else { CONFIGURATIONS } {
        let mut rng = Rng::with_seed(seed);
        let files = config::config(&mut rng);
        let named: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let tree = trees::tree(&named);
        let chains = iptables::compile::compile(&tree, &facts).ruleset;
        let tables = nft_trees::rules(&tree, &facts);
        for probe in packets::probes(&mut rng, PACKETS) {
            let (from, to) = (probe.from.end(), probe.to.end());
            let sent = Sent { packet: &probe.packet, from, to, broadcasts: &broadcasts };
            let compared = Compared {
                files: &files,
                rules: &tables,
                probe: &probe,
                iptables: iptables::simulate::decide(&chains, &sent),
                nftables: nftables::simulate::decide(&tables, &sent),
            };
            *verdicts.entry(compared.nftables.verdict.to_string()).or_insert(0) += 1;
            if compared.iptables.verdict == compared.nftables.verdict {
                continue;
            }
            let Some(number) = compared.difference() else {
                let [one, other] =
                    [&compared.iptables, &compared.nftables].map(|decided| (decided.verdict, compared.text(decided)));
                panic!("seed {seed}\n{}\n{probe}\niptables: {one:?}\nnftables: {other:?}", format_files(&files));
            };
            *differences.entry(number).or_insert(0) += 1;
        }
    }
    println!("{verdicts:?}, differences by number: {differences:?}");
    // some differences occur only with many configurations
    for (number, _) in DIFFERENCES.iter().filter(|_| long) {
        assert!(differences.contains_key(number), "no packet shows difference {number}");
    }
    assert!(verdicts.len() == 3, "each verdict is given: {verdicts:?}");
}
