//! Rules and policies of other programs, before and after the rules of the firewall.
use super::super::scenario::{GUEST100, ON, Scenario, wait_for};
use super::{Case, FREQUENT_FULL_READINGS, SPOOFED_MAC, V4, check};
use crate::testbed::Endpoint::{Host, Outside};
use crate::testbed::VM100;
use crate::testbed::probe::{Probe, ProbeResult};
use pve_firewall::iptables::ruleset::Family;

const ACCEPTED_BEFORE: &[Case] = &[
    Case {
        commands: "iptables-legacy -w -I INPUT -p tcp --dport 22:23 -j ACCEPT",
        probe: || Probe::tcp(Outside, Host, V4, 23),
        expected: ProbeResult::Dropped,
        actual: ProbeResult::Arrived,
        kind: "accepted-before",
        text: "iptables filter: -A INPUT -p tcp -m tcp --dport 22:23 -j ACCEPT",
        node: true,
        guests: &[],
        exit_code: 1,
        remedy: "iptables-legacy -w -D INPUT -p tcp -m tcp --dport 22:23 -j ACCEPT",
    },
    Case {
        // in a separate chain, after a chain that only rejects, like that of fail2ban
        commands: "ip6tables-legacy -w -N f2b; ip6tables-legacy -w -A f2b -s fd00::99 -j REJECT; ip6tables-legacy -w -A f2b -j RETURN
            ip6tables-legacy -w -I INPUT -j f2b; ip6tables-legacy -w -N LIBVIRT; ip6tables-legacy -w -A LIBVIRT -j ACCEPT
            ip6tables-legacy -w -I INPUT -j LIBVIRT",
        probe: || Probe::tcp(Outside, Host, Family::V6, 23),
        expected: ProbeResult::Dropped,
        actual: ProbeResult::Arrived,
        kind: "accepted-before",
        text: "accepts all packets before ours: ip6tables filter: -A INPUT -j LIBVIRT, by '-j ACCEPT'",
        node: true,
        guests: &[],
        exit_code: 2,
        remedy: "ip6tables-legacy -w -D INPUT -j LIBVIRT",
    },
    Case {
        commands: "iptables-legacy -w -I INPUT -s 10.0.0.254 -j RETURN",
        probe: || Probe::tcp(Outside, Host, V4, 23),
        expected: ProbeResult::Dropped,
        actual: ProbeResult::Arrived,
        kind: "accepted-before",
        text: "-A INPUT -s 10.0.0.254/32 -j RETURN",
        node: true,
        guests: &[],
        exit_code: 1,
        remedy: "iptables-legacy -w -D INPUT -s 10.0.0.254 -j RETURN",
    },
    Case {
        commands: "iptables-legacy -w -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
        probe: || Probe::tcp(Outside, VM100, V4, 23),
        expected: ProbeResult::Dropped,
        actual: ProbeResult::Arrived,
        kind: "accepted-before",
        text: "-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
        node: false,
        guests: &[100],
        exit_code: 1,
        remedy: "iptables-legacy -w -D FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
    },
    Case {
        // a frame that reaches the end of a chain with this policy is accepted
        commands: "EBT -N user; EBT -I FORWARD -j user",
        probe: || Probe::arp(VM100, Outside).mac(SPOOFED_MAC),
        expected: ProbeResult::Dropped,
        actual: ProbeResult::Arrived,
        kind: "accepted-before",
        text: "ebtables filter: -A FORWARD -j user, by '-j ACCEPT'",
        node: false,
        guests: &[100],
        exit_code: 1,
        remedy: "EBT -P user RETURN",
    },
];

const DROPPED_AFTER: &[Case] = &[
    Case {
        commands: "iptables-legacy -w -P FORWARD DROP",
        probe: || Probe::tcp(VM100, Outside, V4, 23),
        expected: ProbeResult::Arrived,
        actual: ProbeResult::Dropped,
        kind: "dropped-behind",
        text: "iptables filter: the policy of FORWARD is DROP",
        node: false,
        guests: &[100],
        exit_code: 1,
        remedy: "iptables-legacy -w -A FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
    },
    Case {
        commands: "ip6tables-legacy -w -A FORWARD -j DROP",
        probe: || Probe::udp(VM100, Outside, Family::V6, 23),
        expected: ProbeResult::Arrived,
        actual: ProbeResult::Dropped,
        kind: "dropped-behind",
        text: "ip6tables filter: -A FORWARD -j DROP",
        node: false,
        guests: &[100],
        exit_code: 1,
        remedy: "ip6tables-legacy -w -D FORWARD -j DROP",
    },
    Case {
        commands: "nft 'add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }'",
        probe: || Probe::tcp(VM100, Outside, V4, 23),
        expected: ProbeResult::Arrived,
        actual: ProbeResult::Dropped,
        kind: "dropped-behind",
        text: "nftables inet fw: the policy of forward is DROP",
        node: false,
        guests: &[100],
        exit_code: 1,
        remedy: "nft 'chain inet fw forward { policy accept; }'",
    },
];

#[test]
fn rules_that_accept_before_ours_are_reported_until_the_remedy_is_applied() {
    check(ACCEPTED_BEFORE);
}

#[test]
fn packets_dropped_after_our_rules_are_reported_and_pass_after_the_remedy() {
    check(DROPPED_AFTER);
}

#[test]
fn rules_of_other_programs_that_accept_nothing_are_not_reported() {
    let mut scenario = Scenario::new(&[(GUEST100, ON)]);
    scenario.testbed.node.exec(
        "ipt() { iptables-legacy -w \"$@\"; }
         ipt -I INPUT -i lo -j ACCEPT; ipt -I INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         ipt -N f2b-sshd; ipt -A f2b-sshd -s 192.0.2.1 -j REJECT; ipt -A f2b-sshd -j RETURN
         ipt -I INPUT -p tcp --dport 22 -j f2b-sshd; ipt -I INPUT -m mark --mark 0x9 -j LOG
         ipt -N DOCKER-USER; ipt -A DOCKER-USER -j RETURN; ipt -I FORWARD -j DOCKER-USER
         ipt -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         ipt -I FORWARD -i docker0 ! -o docker0 -j ACCEPT; ipt -A INPUT -j ACCEPT
         ipt -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
         ipt -t nat -A PREROUTING -d 127.0.0.1/32 -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
         ipt -t nat -A PREROUTING -i vmbr0 -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.100:80
         nft 'add table inet other; add chain inet other input { type filter hook input priority -5; policy accept; }'",
    );
    scenario.wait_for_full_cycle();
    assert_eq!(scenario.status(&["--exit-code"]), ("Status: enabled/running\n".into(), 0));
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 23), Probe::tcp(Outside, VM100, V4, 23)]);
}

#[test]
fn rules_of_other_programs_that_cannot_be_evaluated_are_reported() {
    let mut scenario = Scenario::with_options(&FREQUENT_FULL_READINGS, &[(GUEST100, ON)]);
    // more rules than the daemon keeps, none of which accepts
    let of_all = |one: &dyn Fn(usize) -> String| (0..3000).map(one).collect::<String>();
    let chains = of_all(&|at| format!(":other{at} - [0:0]\n")) + &of_all(&|at| format!("-I INPUT -j other{at}\n"));
    let file = scenario.root().join("rules");
    std::fs::write(&file, format!("*filter\n{chains}COMMIT\n")).unwrap();
    scenario.testbed.node.exec(&format!("iptables-legacy-restore -w 10 -n <{}", file.display()));
    let warning = scenario.wait_for_warning("cannot evaluate the rules of other programs in iptables filter");
    assert_eq!(warning["kind"], "not-judged");
    scenario.check_all(ProbeResult::Dropped, [Probe::tcp(Outside, Host, V4, 23), Probe::tcp(Outside, VM100, V4, 23)]);
    let delete = of_all(&|at| format!("-D INPUT -j other{at}\n-X other{at}\n"));
    std::fs::write(&file, format!("*filter\n{delete}COMMIT\n")).unwrap();
    scenario.testbed.node.exec(&format!("iptables-legacy-restore -w 10 -n <{}", file.display()));
    scenario.wait_until_healthy();
}

/// More rules than the daemon reads or keeps, in tables of both variants: the firewall's rules stay live.
#[test]
fn a_hundred_thousand_rules_of_other_programs_do_not_affect_our_rules() {
    for variant in ["legacy", "nft"] {
        let mut scenario = Scenario::with_options(&["--variant", variant], &[(GUEST100, ON)]);
        let file = scenario.root().join("rules");
        let load = |scenario: &Scenario, table: &str, count: usize, rule: &str| {
            let source = |at: usize| format!("10.{}.{}.{}", 200 + (at >> 16), at >> 8 & 255, at & 255);
            let rules: String = (0..count).map(|at| rule.replace("SOURCE", &source(at)) + "\n").collect();
            std::fs::write(&file, format!("*{table}\n{rules}COMMIT\n")).unwrap();
            scenario.testbed.node.exec(&format!("iptables-{variant}-restore -w 60 -n <{}", file.display()));
        };
        load(&scenario, "nat", 100_001, "-A PREROUTING -s SOURCE -j ACCEPT");
        let nat = format!("cannot evaluate the rules of other programs in iptables-{variant} nat");
        let warning = scenario.wait_for_warning(&format!("{nat}: it has more than 100000 rules"));
        assert_eq!((&warning["kind"], &warning["severity"]), (&"not-judged".into(), &"warning".into()));
        scenario
            .check_all(ProbeResult::Dropped, [Probe::tcp(Outside, VM100, V4, 21), Probe::tcp(Outside, Host, V4, 21)]);
        scenario.testbed.node.exec(&format!("iptables-{variant} -w 60 -t nat -F PREROUTING"));
        scenario.wait_until_healthy();
        // a long list of refused sources causes no finding, and one of accepted sources is not evaluated
        load(&scenario, "filter", 3000, "-A INPUT -s SOURCE -j DROP");
        scenario.wait_for_full_cycle();
        scenario.wait_until_healthy();
        load(&scenario, "filter", 3000, "-A FORWARD -s SOURCE -j ACCEPT");
        scenario.change(&[(GUEST100, "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 23\n")]);
        scenario.check(&[
            (Probe::tcp(Outside, VM100, V4, 23), ProbeResult::Arrived),
            (Probe::tcp(Outside, VM100, V4, 24), ProbeResult::Dropped),
            (Probe::tcp(Outside, Host, V4, 23), ProbeResult::Dropped),
        ]);
        load(&scenario, "filter", 3000, "-I INPUT -s SOURCE -j ACCEPT");
        scenario
            .wait_for_warning("cannot evaluate the rules of other programs in iptables filter: it has too many rules");
        // a chain that another program flushes is restored
        scenario.testbed.node.exec(&format!("iptables-{variant} -w 60 -F tap100i0-IN"));
        wait_for("the message about the flushed chain", || {
            (scenario.logged("the chain tap100i0-IN was flushed") == 1).then_some(())
        });
        scenario.check(&[
            (Probe::tcp(Outside, VM100, V4, 25), ProbeResult::Dropped),
            (Probe::tcp(Outside, Host, V4, 23), ProbeResult::Dropped),
        ]);
    }
}

#[test]
fn nftables_tables_of_other_programs_that_are_too_large_are_reported() {
    let scenario = Scenario::new(&[(GUEST100, ON)]);
    let file = scenario.root().join("rules");
    let load = |lines: &str| {
        std::fs::write(&file, lines).unwrap();
        scenario.testbed.node.exec(&format!("nft -f {}", file.display()));
    };
    let rules: String = (0..100_001).map(|at| format!("tcp dport {} accept\n", at % 65_000 + 1)).collect();
    load(&format!("table ip own {{ chain pre {{ type nat hook prerouting priority -150;\n{rules}}}; }}\n"));
    scenario.wait_for_warning(
        "cannot evaluate the rules of other programs in nftables ip own: it has more than 100000 rules",
    );
    load("delete table ip own\n");
    scenario.wait_until_healthy();
    let chains: String =
        (0..1010).map(|at| format!("add chain ip own c{at} {{ type filter hook input priority {at}; }}\n")).collect();
    load(&format!("add table ip own\n{chains}"));
    scenario
        .wait_for_warning("cannot evaluate the rules of other programs in nftables: it has more than 1000 base chains");
    load("delete table ip own\n");
    scenario.wait_until_healthy();
}
