//! Changes of the firewall's chains and sets by other programs are reverted, and logged with names.
use super::scenario::{GUEST100, ON, Scenario, wait_for};
use crate::host::shell;
use crate::rounds::rounds;
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::ruleset::Family;

const V4: Family = Family::V4;
/// A policy, or a rule of the same size, is found by a full reading.
const FREQUENT_FULL_READINGS: [&str; 2] = ["--full-reading", "1"];

#[test]
fn changes_of_our_rules_by_other_programs_are_restored_and_logged_with_names() {
    let guest =
        "[OPTIONS]\nenable: 1\n[IPSET good]\n10.0.0.50\n[RULES]\nIN ACCEPT -source +guest/good -p tcp -dport 23\n";
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, guest)]);
    let probe = || Probe::tcp(Outside, VM100, V4, 23);
    let with = |change: &str, part: &str, text: &str, scenario: &mut Scenario| {
        // a change of the configuration, or a restoration that is not verified yet, would be the reason for the update
        scenario.wait_for_next_update();
        scenario.check_all(ProbeResult::Dropped, [probe()]);
        scenario.testbed.node.exec(&shell(Variant::Legacy, change));
        let line = format!("another program has changed our rules, which are restored: {part}: ");
        wait_for(text, || scenario.log().iter().any(|one| one.contains(&line) && one.contains(text)).then_some(()));
        scenario.wait_until_healthy();
        scenario.check_all(ProbeResult::Dropped, [probe()]);
    };
    scenario.wait_for_next_update();
    for (change, part, text) in rounds([
        ("iptables-legacy -w -F tap100i0-IN", "iptables filter", "the chain tap100i0-IN was flushed"),
        ("iptables-legacy -w -I PVEFW-FORWARD -j ACCEPT", "iptables filter", "the chain PVEFW-FORWARD was changed"),
        (
            "ip6tables-legacy -w -D FORWARD -j PVEFW-FORWARD",
            "ip6tables filter",
            "the jump from FORWARD to PVEFW-FORWARD was deleted",
        ),
        ("iptables-legacy -w -N PVEFW-mine", "iptables filter", "the chain PVEFW-mine was created"),
        ("EBT -F tap100i0-OUT", "ebtables", "the chain tap100i0-OUT was flushed"),
        ("ipset add PVEFW-100-good-v4 10.0.0.254", "ipset", "the set PVEFW-100-good-v4 was changed"),
        ("ipset create PVEFW-mine hash:net", "ipset", "the set PVEFW-mine was created"),
    ]) {
        with(change, part, text, &mut scenario);
        assert_eq!(scenario.logged(text), 1, "{:#?}", scenario.log());
    }
    // changes by the firewall itself are not reported
    let before = scenario.logged("another program has changed our rules");
    scenario.change(&[(GUEST100, ON)]);
    scenario.wait_for_full_cycle();
    assert_eq!(scenario.logged("another program has changed our rules"), before, "{:#?}", scenario.log());
}

#[test]
fn sets_of_another_type_are_replaced_and_pass_no_address_that_is_not_configured() {
    let guest = "[OPTIONS]\nenable: 1\n[IPSET good]\n10.0.0.50\n[IPSET more]\n10.0.0.51\n[RULES]\n\
        IN ACCEPT -source +guest/good -p tcp -dport 23\nIN ACCEPT -source +guest/more -p tcp -dport 24\n";
    let mut scenario = Scenario::new(&[(GUEST100, guest)]);
    let probe = |source, port| Probe::tcp(Outside, VM100, V4, port).source(source);
    let right = [
        (probe("10.0.0.50", 23), ProbeResult::Arrived),
        (probe("10.0.0.51", 24), ProbeResult::Arrived),
        (probe("10.0.0.254", 23), ProbeResult::Dropped),
        (probe("10.0.0.254", 24), ProbeResult::Dropped),
    ];
    scenario.check(&right);
    // one that rules use, and one of the other family, which no rule can use
    let rules = scenario.root().join("rules").display().to_string();
    scenario.restart_after(&[], &format!(
        "iptables-legacy-save -t filter | grep -v PVEFW-100-more-v4 >{rules}; printf '*filter\\nCOMMIT\\n' | iptables-legacy-restore -w 10
         ipset destroy PVEFW-100-good-v4; ipset create PVEFW-100-good-v4 hash:ip; ipset add PVEFW-100-good-v4 10.0.0.254
         ipset destroy PVEFW-100-more-v4; ipset create PVEFW-100-more-v4 hash:net family inet6
         iptables-legacy-restore -w 10 <{rules}"
    ), |scenario| scenario.check_all(ProbeResult::Arrived, [probe("10.0.0.254", 23)]));
    scenario.check(&right);
    for set in ["good", "more"] {
        let shown = scenario.testbed.node.exec(&format!("ipset list PVEFW-100-{set}-v4"));
        assert!(shown.contains("Type: hash:net") && shown.contains("family inet "), "{shown}");
        assert_eq!(
            scenario.logged(&format!("the set PVEFW-100-{set}-v4 was of another type")),
            1,
            "{:#?}",
            scenario.log()
        );
    }
    scenario.wait_until_healthy();
    assert!(!scenario.testbed.node.exec("ipset -n list").contains("_next"));
}

#[test]
fn chains_in_the_variant_that_is_not_in_use_are_removed_and_logged() {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    let answered = || Probe::icmp(Outside, Host, 8);
    let host = "[OPTIONS]\n[RULES]\nIN ACCEPT -p icmp\n";
    scenario.change(&[(super::scenario::HOST, host)]);
    scenario.check_all(ProbeResult::Arrived, [answered()]);
    scenario.testbed.node.exec("iptables-nft -N PVEFW-INPUT; iptables-nft -A PVEFW-INPUT -p icmp -j DROP; iptables-nft -A INPUT -j PVEFW-INPUT");
    wait_for("the removal of the chains", || {
        (!scenario.testbed.node.exec("iptables-nft-save").contains("PVEFW")).then_some(())
    });
    scenario.check_all(ProbeResult::Arrived, [answered()]);
    wait_for("the log", || (scenario.logged("iptables-nft, which is not in use: chains of ours") == 1).then_some(()));
    scenario.wait_until_healthy();
}
