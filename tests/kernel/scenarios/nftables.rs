//! Packets and findings with the nftables backend: tables of other programs, frames that bypass the rules, a kernel
//! that does not track connections in bridges.
use super::layer2::ENCAPSULATIONS;
use super::scenario::{CLUSTER, GUEST100, HOST, Scenario, conf, wait_for};
use crate::nft_trees::has_bridge_conntrack;
use crate::rounds::rounds;
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::VM100;
use crate::testbed::probe::{Encapsulation, Probe, ProbeResult};
use pve_firewall::iptables::ruleset::{Family, TcpFlags};
use serde_json::{Value, json};

const V4: Family = Family::V4;
/// The node's port 80 and everything of guest 100 is open.
const OPEN: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\n";
const GUEST: &str = "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n";
/// Captures frames continuously.
const FREQUENT_FULL_READINGS: [&str; 2] = ["--full-reading", "1"];

fn new_scenario(options: &[&str]) -> Scenario {
    Scenario::nftables(&[&FREQUENT_FULL_READINGS, options].concat(), &[(CLUSTER, OPEN), (GUEST100, GUEST)])
}

/// The findings, except that the kernel does not track connections in bridges.
fn findings(scenario: &Scenario) -> Vec<Value> {
    let status: Value = serde_json::from_str(&scenario.status(&["--json"]).0).unwrap();
    let all = status["warnings"].as_array().unwrap().clone();
    let untracked = |one: &Value| one["kind"] == "no-bridge-conntrack";
    assert_eq!(all.iter().any(untracked), !has_bridge_conntrack(), "{all:#?}");
    all.into_iter().filter(|one| !untracked(one)).collect()
}

fn wait_for_no_warnings(scenario: &Scenario) {
    wait_for("no finding", || findings(scenario).is_empty().then_some(()));
}

/// Commands of another program and the commands that revert them, whether the node or a guest is affected, the warning and its
/// remedy.
const DROPPING_TABLES: [[&str; 5]; 7] = [
    [
        "nft 'table inet fw { chain input { type filter hook input priority 10; policy drop; }; }'",
        "nft delete table inet fw",
        NODE,
        "inet fw: the policy of input",
        "'nft list table inet fw'",
    ],
    [
        "nft 'table ip fw { chain late { type filter hook input priority -10; tcp dport 9 accept; counter drop; }; }'",
        "nft delete table ip fw",
        NODE,
        "ip fw: a rule of late",
        "'nft list table ip fw'",
    ],
    [
        "nft 'table ip fw { chain input { type filter hook input priority 0; ip saddr 10.0.0.254 log; reject; }; }'",
        "nft delete table ip fw",
        NODE,
        "ip fw: a rule of input",
        "'nft list table ip fw'",
    ],
    [
        "nft 'table bridge fw { chain guests { type filter hook forward priority 0; policy drop; }; }'",
        "nft delete table bridge fw",
        GUEST_ONLY,
        "bridge fw: the policy of guests",
        "'nft list table bridge fw'",
    ],
    [
        "iptables-legacy -w -A INPUT -p udp -j ACCEPT; iptables-legacy -w -P INPUT DROP",
        "iptables-legacy -w -P INPUT ACCEPT; iptables-legacy -w -F INPUT",
        NODE,
        "iptables-legacy filter: the policy of INPUT",
        "'iptables-legacy -t filter -P INPUT ACCEPT'",
    ],
    [
        "iptables-legacy -w -t raw -A PREROUTING -p icmp -j ACCEPT; iptables-legacy -w -t raw -A PREROUTING -j DROP",
        "iptables-legacy -w -t raw -F",
        NODE,
        "iptables-legacy raw: a rule of PREROUTING",
        "'iptables-legacy -t raw -S'",
    ],
    [
        "iptables-legacy -w -A INPUT -p icmp -j REJECT; iptables-legacy -w -A INPUT -j REJECT --reject-with tcp-reset -p tcp
         iptables-legacy -w -A INPUT -j REJECT",
        "iptables-legacy -w -F",
        NODE,
        "iptables-legacy filter: a rule of INPUT",
        "'iptables-legacy -t filter -S'",
    ],
];
const NODE: &str = "node";
const GUEST_ONLY: &str = "guest";

#[test]
fn tables_of_other_programs_can_drop_packets_but_not_accept_them() {
    let mut scenario = new_scenario(&[]);
    let node = |port| Probe::tcp(Outside, Host, V4, port);
    let guest = || Probe::tcp(Outside, VM100, V4, 80);
    scenario.check(&[
        (node(80), ProbeResult::Arrived),
        (node(23), ProbeResult::Dropped),
        (guest(), ProbeResult::Arrived),
    ]);
    wait_for_no_warnings(&scenario);
    // an accept ends the evaluation of its base chain only
    scenario
        .testbed
        .node
        .exec("nft 'table inet acc { chain input { type filter hook input priority -10; accept; }; }'");
    scenario.check_all(ProbeResult::Dropped, [node(23)]);
    scenario.wait_for_full_cycle();
    assert_eq!(findings(&scenario), [json!(null); 0]);
    for [commands, undo_commands, affected, text, remedy] in rounds(DROPPING_TABLES) {
        scenario.testbed.node.exec(commands);
        let of_node = affected == NODE;
        let probe = if of_node { node(80) } else { guest() };
        assert_eq!(scenario.count_arrivals(std::slice::from_ref(&probe)), 0, "{commands}");
        let warning = scenario.wait_for_warning(&format!("dropped by another program: {text} drops the rest"));
        assert_eq!(warning["kind"], "dropped-elsewhere", "{warning:#}");
        let guests = if of_node { json!([]) } else { json!([100]) };
        assert_eq!((&warning["affected"]["node"], &warning["affected"]["guests"]), (&of_node.into(), &guests));
        assert!(
            warning["since"].as_u64().unwrap() > 1_000_000_000 && warning["remedy"].as_str().unwrap().contains(remedy),
            "{warning:#}"
        );
        scenario.testbed.node.exec(undo_commands);
        wait_for_no_warnings(&scenario);
        scenario.check_all(ProbeResult::Arrived, [probe]);
        let over = format!("no longer: {}", warning["text"].as_str().unwrap());
        wait_for("the line in the log", || (scenario.logged(&over) == 1).then_some(()));
    }
    // rules that match some packets, and a chain that ends with an accept
    scenario.testbed.node.exec(
        "nft 'table inet fw { chain input { type filter hook input priority 1; policy drop; tcp dport 25 drop; accept; }; }'",
    );
    scenario.check_all(ProbeResult::Arrived, [node(80)]);
    scenario.wait_for_full_cycle();
    assert_eq!(findings(&scenario), [json!(null); 0]);
}

#[test]
fn a_flushed_ruleset_is_restored_and_logged() {
    let mut scenario = new_scenario(&[]);
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 23)]);
    scenario.testbed.node.exec("nft flush ruleset");
    let restored = "another program has changed our rules, which are restored: table inet proxmox-firewall: the chain ";
    wait_for("the line in the log", || (scenario.logged(restored) > 0).then_some(()));
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 24)]);
    scenario.check_all(ProbeResult::Arrived, [Probe::tcp(Outside, Host, V4, 80)]);
    assert_eq!(scenario.logged(restored), 1);
}

/// Replies to a guest with policy DROP pass only if the kernel tracks the connection.
#[test]
fn a_kernel_that_tracks_no_connections_in_bridges_is_reported() {
    let mut scenario =
        Scenario::nftables(&FREQUENT_FULL_READINGS, &[(CLUSTER, OPEN), (GUEST100, "[OPTIONS]\nenable: 1\n")]);
    let mut answer = Probe::tcp(Outside, VM100, V4, 40_000).ports(80, 40_000);
    answer.packet.flags = TcpFlags::SYN.and(TcpFlags::ACK);
    scenario.check_next(Probe::tcp(VM100, Outside, V4, 80), ProbeResult::Arrived);
    scenario.check_next(answer, if has_bridge_conntrack() { ProbeResult::Arrived } else { ProbeResult::Dropped });
    if has_bridge_conntrack() {
        return wait_for_no_warnings(&scenario);
    }
    let warning = scenario.wait_for_warning("the kernel refuses rules about connections in bridges");
    assert_eq!((&warning["kind"], &warning["severity"]), (&"no-bridge-conntrack".into(), &"warning".into()));
    assert_eq!((&warning["affected"]["node"], &warning["affected"]["guests"]), (&false.into(), &json!([100])));
    assert!(warning["remedy"].as_str().unwrap().starts_with("'modprobe nf_conntrack_bridge'"), "{warning:#}");
    assert_eq!(scenario.status(&["--exit-code"]).1, 1);
    // without guests there is no finding
    scenario.write(GUEST100, "[OPTIONS]\nenable: 0\n");
    wait_for("no warning", || (!scenario.status(&[]).0.contains("WARNING")).then_some(()));
}

fn probes<'a>(from_guest: bool, encapsulations: &'a [Encapsulation]) -> impl Iterator<Item = Probe> + 'a {
    let (from, to) = if from_guest { (VM100, Outside) } else { (Outside, VM100) };
    let ports = (2000..).zip(encapsulations);
    ports.flat_map(move |(port, encapsulation)| {
        Family::ALL.map(|family| Probe::tcp(from, to, family, port).encapsulated(*encapsulation))
    })
}

fn both(encapsulations: &[Encapsulation]) -> Vec<Probe> {
    probes(true, encapsulations).chain(probes(false, encapsulations)).collect()
}

#[test]
fn frames_that_bypass_the_rules_are_reported_and_dropped_with_strict_layer2() {
    let closed = format!("{GUEST}[RULES]\nIN DROP -p tcp\nOUT DROP -p tcp\n");
    let mut scenario = Scenario::nftables(&FREQUENT_FULL_READINGS, &[(CLUSTER, OPEN), (GUEST100, &closed)]);
    let (tagged, others) = ENCAPSULATIONS.split_at(3);
    scenario.check_all(ProbeResult::Arrived, [Probe::arp(VM100, Outside), Probe::arp(Outside, VM100)]);
    // rules match packets behind one tag; the policy decides all other frames
    scenario.check_all(ProbeResult::Dropped, both(&[Encapsulation::Plain]));
    scenario.check_all(ProbeResult::Dropped, both(tagged));
    scenario.wait_for_full_cycle();
    wait_for_no_warnings(&scenario);
    scenario.check_all(ProbeResult::Arrived, both(others));
    for kind in ["a QinQ tag", "PPPoE", "LLC/SNAP"] {
        let warning =
            scenario.wait_for_warning(&format!("packets from tap100i0 in frames with {kind} are not filtered"));
        assert_eq!((&warning["kind"], &warning["affected"]["guests"]), (&"carried-past".into(), &json!([100])));
        assert!(warning["remedy"].as_str().unwrap().contains("--strict-layer2"), "{warning:#}");
    }
    drop(scenario);
    let mut scenario = Scenario::nftables(
        &[&FREQUENT_FULL_READINGS[..], &["--strict-layer2"]].concat(),
        &[(CLUSTER, OPEN), (GUEST100, GUEST)],
    );
    scenario.check_all(ProbeResult::Arrived, both(&[Encapsulation::Plain]));
    scenario.check_all(ProbeResult::Arrived, [Probe::arp(VM100, Outside), Probe::arp(Outside, VM100)]);
    scenario.check_all(ProbeResult::Dropped, both(&ENCAPSULATIONS));
    scenario.wait_for_full_cycle();
    wait_for_no_warnings(&scenario);
    // the guest's configuration makes the device a trunk
    let (path, text) = conf(100, false);
    let rule = "ether type 8021q drop";
    let wait_until_refused = |scenario: &Scenario, refused: bool| {
        wait_for("the rules of the guest", || {
            let table = scenario.testbed.node.exec("nft list table bridge proxmox-firewall-guests");
            (table.contains(rule) == refused).then_some(())
        });
    };
    wait_until_refused(&scenario, true);
    scenario.write(&path, &text.replace("firewall=1", "trunks=2;5-9,firewall=1"));
    wait_until_refused(&scenario, false);
    scenario.check_all(ProbeResult::Arrived, both(&ENCAPSULATIONS[..4]));
    scenario.check_all(ProbeResult::Dropped, both(&ENCAPSULATIONS[4..]));
    scenario.write(&path, &text);
    wait_until_refused(&scenario, true);
    // or layer2_protocols allows the protocols
    scenario.write(GUEST100, &format!("{GUEST}layer2_protocols: IPv4,IPv6,ARP,PPP_SES\n"));
    wait_for("the rules of the guest", || {
        let table = scenario.testbed.node.exec("nft list table bridge proxmox-firewall-guests");
        (!table.contains("ether type 0x8864 drop")).then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, both(&[Encapsulation::Pppoe]));
    scenario.check_all(ProbeResult::Dropped, both(&ENCAPSULATIONS[..4]));
    scenario.check_all(ProbeResult::Dropped, both(&[Encapsulation::Snap]));
}

/// Chains left by another program, or by pve-firewall when it was killed: they drop packets that our tables accept.
#[test]
fn remaining_chains_of_pve_firewall_are_reported() {
    let mut scenario = new_scenario(&[]);
    let open = |port| Family::ALL.map(|family| Probe::tcp(Outside, Host, family, port).ports(port, 80));
    scenario.check_all(ProbeResult::Arrived, open(1025));
    let each = |commands: &str| {
        for tool in ["iptables-legacy", "ip6tables-legacy"] {
            scenario.testbed.node.exec(&format!("ipt() {{ {tool} -w \"$@\"; }}\n{commands}"));
        }
    };
    each("ipt -N PVEFW-INPUT; ipt -A PVEFW-INPUT -p tcp --dport 80 -j DROP; ipt -A INPUT -j PVEFW-INPUT");
    let warning = scenario.wait_for_warning("the chains of pve-firewall are also in force");
    assert_eq!((&warning["kind"], &warning["affected"]["node"]), (&"both-backends".into(), &true.into()));
    assert!(warning["remedy"].as_str().unwrap().starts_with("'pve-firewall stop'"), "{warning:#}");
    scenario.check_all(ProbeResult::Dropped, open(1026));
    scenario.testbed.node.exec(&format!(
        "{} stop --node {} --root {}",
        env!("CARGO_BIN_EXE_pve-firewall"),
        crate::testbed::NODE,
        scenario.root().display()
    ));
    wait_for_no_warnings(&scenario);
    scenario.check_all(ProbeResult::Arrived, open(1027));
}

/// iptables is selected, and pve-firewall does not run.
#[test]
fn tables_that_remain_because_pve_firewall_is_not_running_are_reported() {
    let mut scenario = new_scenario(&[]);
    let node = |port| Probe::tcp(Outside, Host, V4, port);
    scenario.check(&[(node(80), ProbeResult::Arrived), (node(23), ProbeResult::Dropped)]);
    scenario.write(HOST, "[OPTIONS]\nnftables: 0\n");
    let warning =
        scenario.wait_for_warning("the chains of pve-firewall are not live: this firewall continues to filter");
    assert_eq!((&warning["kind"], &warning["severity"]), (&"backend-absent".into(), &"warning".into()));
    assert!(warning["remedy"].as_str().unwrap().contains("or set 'nftables: 1'"), "{warning:#}");
    scenario.check(&[(node(80).ports(1025, 80), ProbeResult::Arrived), (node(24), ProbeResult::Dropped)]);
    scenario.write(HOST, "[OPTIONS]\nnftables: 1\n");
    wait_for_no_warnings(&scenario);
    scenario.check(&[(node(80).ports(1026, 80), ProbeResult::Arrived), (node(25), ProbeResult::Dropped)]);
}

/// Open vSwitch takes the frames of its ports before the hooks of bridges, as this filter of tc does.
const OPEN_VSWITCH: &str = "ip link add ovs-system type bridge; ip link set tap100i0 master ovs-system
    tc qdisc add dev tap100i0 clsact
    tc filter add dev tap100i0 ingress protocol all u32 match u32 0 0 action mirred egress redirect dev eno1";

#[test]
fn a_device_on_open_vswitch_is_reported() {
    let closed = format!("{GUEST}[RULES]\nOUT DROP -p udp -dport 53\n");
    let mut scenario = Scenario::nftables(&FREQUENT_FULL_READINGS, &[(CLUSTER, OPEN), (GUEST100, &closed)]);
    let query = |port| Family::ALL.map(|family| Probe::udp(VM100, Outside, family, 53).ports(port, 53));
    scenario.check_all(ProbeResult::Dropped, query(1025));
    scenario.testbed.node.exec(OPEN_VSWITCH);
    scenario.check_all(ProbeResult::Arrived, query(1026));
    let warning =
        scenario.wait_for_warning("tap100i0 has firewall=1 but is a port of Open vSwitch and not of a bridge");
    assert_eq!((&warning["kind"], &warning["severity"]), (&"not-bridged".into(), &"unfiltered".into()));
    assert_eq!(warning["affected"]["guests"], json!([100]));
    assert_eq!(scenario.status(&["--exit-code"]).1, 2);
    // the guest is stopped and started: its device is attached to a firewall bridge
    scenario.testbed.node.exec(
        "tc qdisc del dev tap100i0 clsact; ip link set tap100i0 master fwbr100i0
         bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static",
    );
    wait_for_no_warnings(&scenario);
    scenario.check_all(ProbeResult::Dropped, query(1027));
}
