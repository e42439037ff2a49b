//! Packets and findings with the nftables backend: tables of other programs, frames that carry packets past the
//! rules, a kernel that tracks no connections in bridges.
use super::site::{CLUSTER, GUEST100, HOST, Site, conf, wait_for};
use crate::nft_trees::has_bridge_conntrack;
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::VM100;
use crate::testbed::probe::{Carrier, Probe, ProbeResult};
use pve_firewall::iptables::ruleset::{Family, TcpFlags};
use serde_json::{Value, json};

const V4: Family = Family::V4;
/// The node's port 80 and everything of guest 100 is open.
const OPEN: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\n";
const GUEST: &str = "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n";
/// Captures frames all the time.
const SOON: [&str; 2] = ["--full-reading", "1"];

fn site(options: &[&str]) -> Site {
    Site::nftables(&[&SOON, options].concat(), &[(CLUSTER, OPEN), (GUEST100, GUEST)])
}

/// The findings, without the one that the kernel tracks no connections in bridges, if it does not.
fn findings(site: &Site) -> Vec<Value> {
    let status: Value = serde_json::from_str(&site.status(&["--json"]).0).unwrap();
    let all = status["warnings"].as_array().unwrap().clone();
    let untracked = |one: &Value| one["kind"] == "no-bridge-conntrack";
    assert_eq!(all.iter().any(untracked), !has_bridge_conntrack(), "{all:#?}");
    all.into_iter().filter(|one| !untracked(one)).collect()
}

fn wait_for_no_warnings(site: &Site) {
    wait_for("no finding", || findings(site).is_empty().then_some(()));
}

/// Commands of another program and those that undo them, whether the node or a guest is affected, the warning and its remedy.
const CLOSING: [[&str; 5]; 7] = [
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
fn tables_of_others_can_drop_and_not_accept() {
    let mut site = site(&[]);
    let node = |port| Probe::tcp(Outside, Host, V4, port);
    let guest = || Probe::tcp(Outside, VM100, V4, 80);
    site.check(&[(node(80), ProbeResult::Arrived), (node(23), ProbeResult::Dropped), (guest(), ProbeResult::Arrived)]);
    wait_for_no_warnings(&site);
    // an accept ends the evaluation of its base chain only
    site.testbed.node.exec("nft 'table inet acc { chain input { type filter hook input priority -10; accept; }; }'");
    site.all(ProbeResult::Dropped, [node(23)]);
    site.cycle();
    assert_eq!(findings(&site), [json!(null); 0]);
    for [does, undoes, whom, text, remedy] in CLOSING {
        site.testbed.node.exec(does);
        let of_node = whom == NODE;
        let probe = if of_node { node(80) } else { guest() };
        assert_eq!(site.arrivals(std::slice::from_ref(&probe)), 0, "{does}");
        let warning = site.wait_for_warning(&format!("dropped by another program: {text} drops the rest"));
        assert_eq!(warning["kind"], "dropped-elsewhere", "{warning:#}");
        let guests = if of_node { json!([]) } else { json!([100]) };
        assert_eq!((&warning["affected"]["node"], &warning["affected"]["guests"]), (&of_node.into(), &guests));
        assert!(
            warning["since"].as_u64().unwrap() > 1_000_000_000 && warning["remedy"].as_str().unwrap().contains(remedy),
            "{warning:#}"
        );
        site.testbed.node.exec(undoes);
        wait_for_no_warnings(&site);
        site.all(ProbeResult::Arrived, [probe]);
        let over = format!("no longer: {}", warning["text"].as_str().unwrap());
        wait_for("the line in the log", || (site.logged(&over) == 1).then_some(()));
    }
    // rules that match some packets, and a chain that ends with an accept
    site.testbed.node.exec(
        "nft 'table inet fw { chain input { type filter hook input priority 1; policy drop; tcp dport 25 drop; accept; }; }'",
    );
    site.all(ProbeResult::Arrived, [node(80)]);
    site.cycle();
    assert_eq!(findings(&site), [json!(null); 0]);
}

#[test]
fn a_flushed_ruleset_is_restored_and_logged() {
    let mut site = site(&[]);
    site.all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 23)]);
    site.testbed.node.exec("nft flush ruleset");
    let restored = "another program has changed our rules, which are restored: table inet proxmox-firewall: the chain ";
    wait_for("the line in the log", || (site.logged(restored) > 0).then_some(()));
    site.all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 24)]);
    site.all(ProbeResult::Arrived, [Probe::tcp(Outside, Host, V4, 80)]);
    assert_eq!(site.logged(restored), 1);
}

/// Replies to a guest with policy DROP pass only if the kernel tracks the connection.
#[test]
fn a_kernel_that_tracks_no_connections_in_bridges_is_found() {
    let mut site = Site::nftables(&SOON, &[(CLUSTER, OPEN), (GUEST100, "[OPTIONS]\nenable: 1\n")]);
    let mut answer = Probe::tcp(Outside, VM100, V4, 40_000).ports(80, 40_000);
    answer.packet.flags = TcpFlags::SYN.and(TcpFlags::ACK);
    site.next(Probe::tcp(VM100, Outside, V4, 80), ProbeResult::Arrived);
    site.next(answer, if has_bridge_conntrack() { ProbeResult::Arrived } else { ProbeResult::Dropped });
    if has_bridge_conntrack() {
        return wait_for_no_warnings(&site);
    }
    let warning = site.wait_for_warning("the kernel refuses rules about connections in bridges");
    assert_eq!((&warning["kind"], &warning["severity"]), (&"no-bridge-conntrack".into(), &"warning".into()));
    assert_eq!((&warning["affected"]["node"], &warning["affected"]["guests"]), (&false.into(), &json!([100])));
    assert!(warning["remedy"].as_str().unwrap().starts_with("'modprobe nf_conntrack_bridge'"), "{warning:#}");
    assert_eq!(site.status(&["--exit-code"]).1, 1);
    // without guests it does not matter
    site.write(GUEST100, "[OPTIONS]\nenable: 0\n");
    wait_for("no warning", || (!site.status(&[]).0.contains("WARNING")).then_some(()));
}

const CARRIERS: [Carrier; 6] =
    [Carrier::Vlan(0), Carrier::Vlan(5), Carrier::Vlan(4095), Carrier::QinQ(5, 6), Carrier::Pppoe, Carrier::Snap];

fn probes<'a>(from_guest: bool, carriers: &'a [Carrier]) -> impl Iterator<Item = Probe> + 'a {
    let (from, to) = if from_guest { (VM100, Outside) } else { (Outside, VM100) };
    let ports = (2000..).zip(carriers);
    ports
        .flat_map(move |(port, carrier)| Family::ALL.map(|family| Probe::tcp(from, to, family, port).carried(*carrier)))
}

fn both(carriers: &[Carrier]) -> Vec<Probe> {
    probes(true, carriers).chain(probes(false, carriers)).collect()
}

#[test]
fn frames_that_carry_packets_past_the_rules_are_found_and_dropped_with_strict_layer2() {
    let closed = format!("{GUEST}[RULES]\nIN DROP -p tcp\nOUT DROP -p tcp\n");
    let mut site = Site::nftables(&SOON, &[(CLUSTER, OPEN), (GUEST100, &closed)]);
    let (tagged, others) = CARRIERS.split_at(3);
    site.all(ProbeResult::Arrived, [Probe::arp(VM100, Outside), Probe::arp(Outside, VM100)]);
    // rules match packets behind one tag; the policy decides all other frames
    site.all(ProbeResult::Dropped, both(&[Carrier::Plain]));
    site.all(ProbeResult::Dropped, both(tagged));
    site.cycle();
    wait_for_no_warnings(&site);
    site.all(ProbeResult::Arrived, both(others));
    for kind in ["a QinQ tag", "PPPoE", "LLC/SNAP"] {
        let warning = site.wait_for_warning(&format!("packets from tap100i0 in frames with {kind} are not filtered"));
        assert_eq!((&warning["kind"], &warning["affected"]["guests"]), (&"carried-past".into(), &json!([100])));
        assert!(warning["remedy"].as_str().unwrap().contains("--strict-layer2"), "{warning:#}");
    }
    drop(site);
    let mut site = Site::nftables(&[&SOON[..], &["--strict-layer2"]].concat(), &[(CLUSTER, OPEN), (GUEST100, GUEST)]);
    site.all(ProbeResult::Arrived, both(&[Carrier::Plain]));
    site.all(ProbeResult::Arrived, [Probe::arp(VM100, Outside), Probe::arp(Outside, VM100)]);
    site.all(ProbeResult::Dropped, both(&CARRIERS));
    site.cycle();
    wait_for_no_warnings(&site);
    // the guest's own configuration says that it is a trunk
    let (path, text) = conf(100, false);
    let rule = "ether type 8021q drop";
    let until_refused = |site: &Site, refused: bool| {
        wait_for("the rules of the guest", || {
            let table = site.testbed.node.exec("nft list table bridge proxmox-firewall-guests");
            (table.contains(rule) == refused).then_some(())
        });
    };
    until_refused(&site, true);
    site.write(&path, &text.replace("firewall=1", "trunks=2;5-9,firewall=1"));
    until_refused(&site, false);
    site.all(ProbeResult::Arrived, both(&CARRIERS[..4]));
    site.all(ProbeResult::Dropped, both(&CARRIERS[4..]));
    site.write(&path, &text);
    until_refused(&site, true);
    // or layer2_protocols names what it may use
    site.write(GUEST100, &format!("{GUEST}layer2_protocols: IPv4,IPv6,ARP,PPP_SES\n"));
    wait_for("the rules of the guest", || {
        let table = site.testbed.node.exec("nft list table bridge proxmox-firewall-guests");
        (!table.contains("ether type 0x8864 drop")).then_some(())
    });
    site.all(ProbeResult::Arrived, both(&[Carrier::Pppoe]));
    site.all(ProbeResult::Dropped, both(&CARRIERS[..4]));
    site.all(ProbeResult::Dropped, both(&[Carrier::Snap]));
}

/// Chains left by another program, or by pve-firewall when it was killed: they drop packets that our tables accept.
#[test]
fn chains_of_pve_firewall_that_stay_are_found() {
    let mut site = site(&[]);
    let open = |port| Family::ALL.map(|family| Probe::tcp(Outside, Host, family, port).ports(port, 80));
    site.all(ProbeResult::Arrived, open(1025));
    let each = |commands: &str| {
        for tool in ["iptables-legacy", "ip6tables-legacy"] {
            site.testbed.node.exec(&format!("ipt() {{ {tool} -w \"$@\"; }}\n{commands}"));
        }
    };
    each("ipt -N PVEFW-INPUT; ipt -A PVEFW-INPUT -p tcp --dport 80 -j DROP; ipt -A INPUT -j PVEFW-INPUT");
    let warning = site.wait_for_warning("the chains of pve-firewall filter, too");
    assert_eq!((&warning["kind"], &warning["affected"]["node"]), (&"both-backends".into(), &true.into()));
    assert!(warning["remedy"].as_str().unwrap().starts_with("'pve-firewall stop'"), "{warning:#}");
    site.all(ProbeResult::Dropped, open(1026));
    site.testbed.node.exec(&format!(
        "{} stop --node {} --root {}",
        env!("CARGO_BIN_EXE_pve-firewall"),
        crate::testbed::NODE,
        site.root().display()
    ));
    wait_for_no_warnings(&site);
    site.all(ProbeResult::Arrived, open(1027));
}

/// iptables is selected, and pve-firewall does not run.
#[test]
fn tables_that_stay_because_pve_firewall_is_not_running_are_found() {
    let mut site = site(&[]);
    let node = |port| Probe::tcp(Outside, Host, V4, port);
    site.check(&[(node(80), ProbeResult::Arrived), (node(23), ProbeResult::Dropped)]);
    site.write(HOST, "[OPTIONS]\nnftables: 0\n");
    let warning = site.wait_for_warning("the chains of pve-firewall are not live: this firewall continues to filter");
    assert_eq!((&warning["kind"], &warning["severity"]), (&"backend-absent".into(), &"warning".into()));
    assert!(warning["remedy"].as_str().unwrap().contains("or set 'nftables: 1'"), "{warning:#}");
    site.check(&[(node(80).ports(1025, 80), ProbeResult::Arrived), (node(24), ProbeResult::Dropped)]);
    site.write(HOST, "[OPTIONS]\nnftables: 1\n");
    wait_for_no_warnings(&site);
    site.check(&[(node(80).ports(1026, 80), ProbeResult::Arrived), (node(25), ProbeResult::Dropped)]);
}

/// Open vSwitch takes the frames of its ports before the hooks of bridges, as this filter of tc does.
const OPEN_VSWITCH: &str = "ip link add ovs-system type bridge; ip link set tap100i0 master ovs-system
    tc qdisc add dev tap100i0 clsact
    tc filter add dev tap100i0 ingress protocol all u32 match u32 0 0 action mirred egress redirect dev eno1";

#[test]
fn a_device_on_open_vswitch_is_found() {
    let closed = format!("{GUEST}[RULES]\nOUT DROP -p udp -dport 53\n");
    let mut site = Site::nftables(&SOON, &[(CLUSTER, OPEN), (GUEST100, &closed)]);
    let query = |port| Family::ALL.map(|family| Probe::udp(VM100, Outside, family, 53).ports(port, 53));
    site.all(ProbeResult::Dropped, query(1025));
    site.testbed.node.exec(OPEN_VSWITCH);
    site.all(ProbeResult::Arrived, query(1026));
    let warning = site.wait_for_warning("tap100i0 has firewall=1 but is a port of Open vSwitch and not of a bridge");
    assert_eq!((&warning["kind"], &warning["severity"]), (&"not-bridged".into(), &"unfiltered".into()));
    assert_eq!(warning["affected"]["guests"], json!([100]));
    assert_eq!(site.status(&["--exit-code"]).1, 2);
    // the guest is stopped and started: its device is attached to a firewall bridge
    site.testbed.node.exec(
        "tc qdisc del dev tap100i0 clsact; ip link set tap100i0 master fwbr100i0
         bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static",
    );
    wait_for_no_warnings(&site);
    site.all(ProbeResult::Dropped, query(1027));
}
