//! Update and removal next to rules of other programs.
use crate::host::{Host, VARIANTS, set_counters, shell};
use crate::rulesets::{add_guest, addresses, append, node, rule, set, tcp};
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::plan::{Plan, PlannedAction};
use pve_firewall::iptables::ruleset::{Family, Target};

/// Rules and sets of other programs.
const FOREIGN: &str = "
    for t in 'IPT' 'SIX'; do
        $t -N f2b-sshd; $t -A f2b-sshd -j RETURN
        $t -A INPUT -p tcp --dport 22 -j f2b-sshd; $t -P FORWARD DROP
        $t -t raw -A PREROUTING -i lo -j ACCEPT
        $t -t nat -N PVEFW-nat; $t -t nat -A POSTROUTING -o eth7 -j MASQUERADE
    done
    EBT -N mine; EBT -A mine -p ARP -j ACCEPT; EBT -A FORWARD -i eth7 -j mine
    ipset create blocklist hash:ip; ipset add blocklist 192.0.2.1
    IPT -A INPUT -m set --match-set blocklist src -j DROP";

fn with_foreign_rules(name: &str, variant: Variant) -> Host {
    let host = Host::new(name, variant);
    host.netns.exec(&shell(variant, FOREIGN));
    host
}

#[test]
fn update_and_removal_do_not_change_other_programs_rules() {
    for variant in VARIANTS {
        let mut host = with_foreign_rules("foreign", variant);
        let before = host.kernel_state();
        let mut wanted = node(&[100, 101]);
        host.update_and_check(&wanted);
        assert_ne!(host.kernel_state(), before);
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(80), Target::Accept, 9));
        host.update_and_check(&wanted);
        assert_eq!(host.remove().errors, []);
        assert_eq!(host.kernel_state(), before, "{variant}: only our rules and sets are removed");
        assert!(!host.remove().changed);
    }
}

#[test]
fn a_changed_rule_rewrites_only_its_chain() {
    for variant in VARIANTS {
        let mut host = Host::new("counters", variant);
        let mut wanted = node(&[100, 101]);
        host.update_and_check(&wanted);
        let before = set_counters(&host, "iptables");
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(80), Target::Accept, 9));
        let live = host.live();
        let plan = Plan::new(&wanted, &live);
        assert_eq!(
            plan.filter.v4.with(PlannedAction::Update).map(|name| name.as_str()).collect::<Vec<_>>(),
            ["tap100i0-IN"]
        );
        assert!(plan.filter.v6.is_empty() && plan.raw.v4.is_empty() && plan.bridge.is_empty() && plan.sets.is_empty());
        host.update_and_check(&wanted);
        let after = host.counters("iptables");
        assert!(before.keys().eq(after.keys()));
        for (chain, rules) in &after {
            if chain == "tap100i0-IN" {
                assert_eq!(rules.len(), before[chain].len() + 1);
                assert!(rules.iter().all(|rule| rule.starts_with("[0:0]")), "{rules:?}");
            } else {
                assert_eq!(rules, &before[chain], "{variant}: {chain} keeps its counters");
            }
        }
    }
}

#[test]
fn added_and_removed_guests_are_applied() {
    for variant in VARIANTS {
        let mut host = Host::new("guests", variant);
        host.update_and_check(&node(&[100]));
        let before = host.kernel_state();
        let mut two = node(&[100]);
        add_guest(&mut two, 101);
        host.update_and_check(&two);
        assert!(host.saved("iptables", "-t filter").contains("-j tap101i0-OUT"));
        host.update_and_check(&node(&[100]));
        assert_eq!(host.kernel_state(), before);
    }
}

#[test]
fn a_set_grows_while_a_rule_uses_it() {
    for variant in VARIANTS {
        let mut host = Host::new("grow", variant);
        let mut wanted = node(&[100]);
        host.update_and_check(&wanted);
        let name = set("PVEFW-100-friends-v4");
        for count in [5000, 10, 0] {
            wanted.sets.insert(name.clone(), addresses(count));
            host.update_and_check(&wanted);
            let live = host.netns.exec("ipset save PVEFW-100-friends-v4 | grep -c ^add || true");
            assert_eq!(live.trim(), count.to_string());
        }
        // as after a kill between two lines of the restore
        host.netns.exec("ipset create PVEFW-100-friends-v4_swap hash:net; ipset create PVEFW-9-old-v4_swap hash:net");
        wanted.sets.insert(name.clone(), addresses(70));
        host.update_and_check(&wanted);
        assert!(!host.netns.exec("ipset save").contains("_swap"));
        // the rule still uses the same set
        host.netns.exec("ipset add PVEFW-100-friends-v4 192.0.2.1");
        assert!(!Plan::new(&wanted, &host.live()).sets.is_empty());
        host.update_and_check(&wanted);
    }
}

#[test]
fn each_hook_jump_exists_once() {
    for variant in VARIANTS {
        let mut host = Host::new("hooks", variant);
        let wanted = node(&[]);
        host.update_and_check(&wanted);
        host.netns.exec(&shell(variant, "IPT -A INPUT -j PVEFW-INPUT; IPT -D OUTPUT -j PVEFW-OUTPUT"));
        host.netns.exec(&shell(variant, "EBT -A FORWARD -j PVEFW-FORWARD; EBT -A FORWARD -j PVEFW-FORWARD"));
        host.update_and_check(&wanted);
        let live = host.live();
        assert_eq!(
            live.filter.v4.unwrap().hooks.iter().map(|(hook, count)| (hook.chain, *count)).collect::<Vec<_>>(),
            [("FORWARD", 1), ("INPUT", 1), ("OUTPUT", 1)]
        );
        assert_eq!(live.bridge.unwrap().table.hooks.values().sum::<usize>(), 1);
    }
}

#[test]
fn chains_and_sets_of_kept_chains_are_not_removed() {
    for variant in VARIANTS {
        let mut host = Host::new("kept", variant);
        host.update_and_check(&node(&[100, 101]));
        let before = host.kernel_state();
        let mut wanted = node(&[101]);
        let kept = ["PVEFW-FWBR-IN", "PVEFW-FWBR-OUT"];
        wanted.kept = kept.iter().map(|name| crate::rulesets::chain(name)).collect();
        let outcome = host.update(&wanted);
        assert_eq!(outcome, Default::default(), "{variant}: the chains and sets that they use are kept");
        assert_eq!(host.kernel_state(), before);
        let plan = Plan::new(&wanted, &host.live());
        assert_eq!(plan.filter[Family::V4].chains["tap100i0-IN"].action, PlannedAction::Ignore);
        assert_eq!(plan.sets.sets["PVEFW-100-friends-v4"].action, PlannedAction::Ignore);
    }
}

#[test]
fn a_chain_that_another_programs_rule_jumps_to_is_flushed_and_kept() {
    for variant in VARIANTS {
        let mut host = Host::new("pinned", variant);
        host.update_and_check(&node(&[100]));
        host.netns.exec(&shell(variant, "IPT -A INPUT -i eth9 -j tap100i0-OUT"));
        host.update_and_check(&node(&[]));
        assert!(host.saved("iptables", "").contains(":tap100i0-OUT -"));
        host.update_and_check(&node(&[100]));
    }
}

#[test]
fn the_last_scripts_are_kept() {
    let mut host = Host::new("scripts", Variant::Legacy);
    host.update_and_check(&node(&[100]));
    host.update_and_check(&node(&[]));
    let state = host.root.path().join("var/lib/pve-firewall");
    let mut names: Vec<_> = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = [
        "ebtablescmdlist",
        "ip4cmdlist",
        "ip4cmdlistraw",
        "ip6cmdlist",
        "ip6cmdlistraw",
        "ipsetcmdlist1",
        "ipsetcmdlist2",
    ];
    assert_eq!(names, expected);
    let script = std::fs::read_to_string(state.join("ipsetcmdlist2")).unwrap();
    assert_eq!(script, "flush PVEFW-100-friends-v4\ndestroy PVEFW-100-friends-v4\n");
}

#[test]
fn the_real_tools_accept_any_ruleset() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::{Config, RngSeed, TestRunner};
    for variant in VARIANTS {
        let mut host = Host::new("any", variant);
        let config = Config { rng_seed: RngSeed::Fixed(1), ..Config::default() };
        let mut runner = TestRunner::new(config);
        for _ in 0..12 {
            let wanted = crate::arbitrary::ruleset().new_tree(&mut runner).unwrap().current();
            host.update_and_check(&wanted);
        }
        assert_eq!(host.remove().errors, []);
    }
}
