//! Unchanged parts are not read again: which changes by other programs are detected at once, and which by a full reading.
use crate::host::{Host, VARIANTS, shell};
use crate::rulesets::{append, node, rule, tcp};
use pve_firewall::iptables::apply::{Outcome, Variant};
use pve_firewall::iptables::plan::Part;
use pve_firewall::iptables::ruleset::{Ruleset, Target};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A node without pending changes, and a firewall that has read it and relies on the kernel's summaries from now on.
fn host_with_summaries(variant: Variant) -> Host {
    let mut host = Host::new("evidence", variant);
    host.update_and_check(&node(&[100, 101]));
    restarted_with_summaries(host)
}

fn restarted_with_summaries(host: Host) -> Host {
    let mut host = host.restarted();
    host.firewall.set_full_reading(Duration::from_secs(3600));
    host.update_and_check(&node(&[100, 101]));
    host
}

#[test]
fn live_changes_are_detected_in_the_next_update() {
    for variant in VARIANTS {
        let mut host = host_with_summaries(variant);
        let before = host.kernel_state();
        for change in [
            "IPT -F tap100i0-IN",
            "SIX -I tap100i0-IN -j ACCEPT",
            "SIX -D FORWARD -j PVEFW-FORWARD",
            "IPT -F; IPT -X",
            "ipset flush PVEFW-100-friends-v4",
            "ipset del PVEFW-100-friends-v4 10.0.0.0/24",
            "ipset add PVEFW-100-friends-v4 192.0.2.0/24",
            "EBT -F PVEFW-FORWARD",
        ] {
            host.netns.exec(&shell(variant, change));
            assert_ne!(host.kernel_state(), before, "{change}");
            let outcome = host.update(&node(&[100, 101]));
            assert!(outcome.changed && outcome.errors.is_empty(), "{variant}: {change}: {outcome:?}");
            assert_eq!(host.kernel_state(), before, "{change}");
            // prevents a full reading after this change
            host = restarted_with_summaries(host);
        }
    }
}

/// A change by another program after the kernel's summaries were taken ahead of an update is undone by the update after it.
#[test]
fn a_change_after_the_summaries_were_taken_ahead_is_detected_by_the_second_update() {
    for variant in VARIANTS {
        let mut host = host_with_summaries(variant);
        let before = host.kernel_state();
        let Host { netns, firewall, .. } = &mut host;
        netns.run(|| firewall.prefetch_summaries());
        host.netns.exec(&shell(variant, "IPT -F tap100i0-IN; ipset flush PVEFW-100-friends-v4"));
        let detected = host.update(&node(&[100, 101])).changed;
        assert!(!detected, "{variant}: the summaries were taken before the change");
        assert!(host.update(&node(&[100, 101])).changed, "{variant}");
        assert_eq!(host.kernel_state(), before);
    }
}

/// Replacing a rule is a transaction in nftables, but does not change the summary of a legacy table if the size is the same.
#[test]
fn a_replaced_rule_is_detected_by_a_full_reading_with_legacy() {
    for variant in VARIANTS {
        let mut host = host_with_summaries(variant);
        let before = host.kernel_state();
        host.netns.exec(&shell(variant, "IPT -R tap100i0-IN 1 -p tcp --dport 1 -j ACCEPT"));
        assert_ne!(host.kernel_state(), before);
        let detected = host.update(&node(&[100, 101])).changed;
        assert_eq!(detected, variant == Variant::Nft);
        host.firewall.set_full_reading(Duration::ZERO);
        assert_eq!(host.update(&node(&[100, 101])).changed, !detected, "{variant}");
        assert_eq!(host.kernel_state(), before);
    }
}

/// The daemon's full reading is split into parts, and it ends.
#[test]
fn a_full_reading_covers_one_part_per_call() {
    fn maintain(host: &mut Host, wanted: &Arc<Ruleset>) -> Outcome {
        let Host { netns, firewall, .. } = host;
        netns.run(|| firewall.maintain(wanted))
    }
    let mut host = host_with_summaries(Variant::Legacy);
    let (before, wanted) = (host.kernel_state(), Arc::new(node(&[100, 101])));
    assert!(!maintain(&mut host, &wanted).changed);
    assert!(host.firewall.due().is_some_and(|due| due > Instant::now()));
    let edit = |host: &Host| {
        host.netns.exec("ip6tables-legacy -w 60 -R tap100i0-IN 1 -p tcp --dport 1 -j ACCEPT");
        assert_ne!(host.kernel_state(), before);
    };
    edit(&host);
    assert!(!maintain(&mut host, &wanted).changed, "nothing is due");
    host.firewall.set_full_reading(Duration::ZERO);
    let mut calls = (1..=Part::ALL.len()).filter(|_| maintain(&mut host, &wanted).changed);
    assert_eq!((calls.next(), calls.next()), (Some(2), None), "ip6tables' filter is the second part");
    assert_eq!(host.kernel_state(), before);

    // an update does not read the remaining parts
    assert!(!maintain(&mut host, &wanted).changed);
    edit(&host);
    let mut other = node(&[100, 101]);
    append(&mut other.filter.v4, "tap101i0-OUT", rule(tcp(80), Target::Accept, 9));
    let outcome = maintain(&mut host, &Arc::new(other));
    assert!(outcome.changed && outcome.errors.is_empty(), "{outcome:?}");
    assert_ne!(host.kernel_state()["ip6tables filter"], before["ip6tables filter"]);
}
