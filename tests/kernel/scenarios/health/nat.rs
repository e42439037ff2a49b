//! Address translation of other programs.
use super::super::scenario::{GUEST100, ON, Scenario};
use super::{FREQUENT_FULL_READINGS, V4};
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::VM100_NET1;
use crate::testbed::probe::{Probe, ProbeResult};

#[test]
fn source_nat_for_guests_needs_a_zone_for_firewall_bridges() {
    check_translation(
        "iptables-legacy -w -t nat -A POSTROUTING -s 10.0.1.0/24 -o vmbr0 -j MASQUERADE",
        "iptables-legacy nat: -s 10.0.1.0/24 -o vmbr0 -j MASQUERADE",
        |scenario| {
            let rules = scenario.testbed.node.exec("iptables-legacy-save -c -t nat");
            !rules.lines().any(|line| line.starts_with("[0:0]") && line.contains("MASQUERADE"))
        },
    );
}

#[test]
fn source_nat_of_nftables_for_guests_needs_a_zone_for_firewall_bridges() {
    check_translation(
        "nft 'table ip own { chain post { type nat hook postrouting priority 100; ip saddr 10.0.1.0/24 oifname vmbr0 counter masquerade; }; }'",
        "nftables ip own: a rule of the chain post",
        |scenario| !scenario.testbed.node.exec("nft list table ip own").contains("counter packets 0 "),
    );
}

/// A rule of another program translates the source of a guest's packets only with the remedy.
fn check_translation(commands: &str, rule: &str, translated: impl Fn(&Scenario) -> bool) {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    scenario.testbed.node.exec(commands);
    // routed by the node, from the guest's second device: it arrives with the guest's source address
    let routed = |port| Probe::udp(VM100_NET1, Outside, V4, port).dest_mac(Host.mac());
    scenario.check_all(ProbeResult::Arrived, [routed(53)]);
    assert!(!translated(&scenario));
    let warning = scenario.wait_for_warning("source NAT does not apply to guests behind firewall bridges");
    assert_eq!(warning["kind"], "nat-without-zone");
    assert!(warning["text"].as_str().unwrap().ends_with(rule), "{warning:#}");
    assert_eq!(warning["affected"]["guests"], serde_json::json!([100]), "{warning:#}");
    scenario.testbed.node.exec("iptables-legacy -w -t raw -I PREROUTING -i fwbr+ -j CT --zone 1");
    scenario.wait_until_healthy();
    // it arrives with another source address than that of the probe
    scenario.check_all(ProbeResult::Dropped, [routed(54)]);
    assert!(translated(&scenario));
}

/// A container behind a separate bridge, to which the node routes packets: none of its rules is evaluated.
const CONTAINER: &str = "ip link add docker0 type veth peer name dock1; ip addr add 172.17.0.1/16 dev docker0
    ip link set docker0 up; ip link set dock1 up; iptables-legacy -w -A FORWARD -d 172.17.0.2 -p tcp --dport 80";

/// Whether packets to the node were routed to the container.
fn passed_the_node(scenario: &Scenario) -> bool {
    let counters = scenario.testbed.node.exec("iptables-legacy-save -c -t filter");
    counters.lines().any(|line| line.contains("-A FORWARD -d 172.17.0.2") && !line.starts_with("[0:0]"))
}

#[test]
fn destination_nat_that_bypasses_the_rules_of_the_node_is_reported() {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 8080)]);
    scenario.wait_until_healthy();
    scenario.testbed.node.exec("iptables-legacy -w -t nat -N DOCKER; iptables-legacy -w -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        iptables-legacy -w -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80");
    scenario.testbed.node.exec(CONTAINER);
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 8080)]);
    assert!(passed_the_node(&scenario));
    let warning = scenario.wait_for_warning("bypasses the rules of the node: iptables-legacy nat: ");
    assert_eq!(warning["kind"], "dnat-past-the-node");
    scenario.testbed.node.exec("iptables-legacy -w -t nat -F DOCKER");
    scenario.wait_until_healthy();
}

/// A rule of nftables redirects packets to an address of the node to another address.
#[test]
fn destination_nat_of_nftables_that_bypasses_the_rules_of_the_node_is_reported() {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    let translate = |to: &str| {
        let rule = format!("ip daddr != 127.0.0.1 tcp dport 8080 dnat to {to}");
        let chain = "{ type nat hook prerouting priority dstnat; }";
        scenario.testbed.node.exec(&format!(
            "nft 'table ip own; delete table ip own; add table ip own; add chain ip own pre {chain}; add rule ip own pre {rule}'"
        ));
    };
    // packets that are redirected to a guest are filtered by the guest's rules
    translate("10.0.0.100:80");
    scenario.wait_for_full_cycle();
    scenario.wait_until_healthy();
    translate("172.17.0.2:80");
    scenario.testbed.node.exec(CONTAINER);
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 8080)]);
    assert!(passed_the_node(&scenario));
    let warning = scenario.wait_for_warning("destination NAT bypasses the rules of the node: nftables ip own");
    assert_eq!((&warning["kind"], &warning["affected"]["node"]), (&"dnat-past-the-node".into(), &true.into()));
    // published on loopback only
    let loopback =
        "flush chain ip own pre; add rule ip own pre ip daddr 127.0.0.1 tcp dport 8080 dnat to 172.17.0.2:80";
    scenario.testbed.node.exec(&format!("nft '{loopback}'; iptables-legacy -w -Z FORWARD"));
    scenario.wait_until_healthy();
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 8080).ports(33_333, 8080)]);
    assert!(!passed_the_node(&scenario));
}
