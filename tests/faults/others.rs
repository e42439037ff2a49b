//! Other programs that change the same tables: changes to the firewall's rules are reverted in the next cycle, and the rules of
//! other programs are kept.
use crate::host::{Host, VARIANTS, ebtables, shell};
use crate::rounds::rounds;
use crate::rulesets::{append, node, rule, tcp};
use crate::tool_wrappers::{replace_tool, restore_tool};
use crate::tools::restore;
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::ruleset::Target;
use std::time::Duration;

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("changes_by_other_programs_are_repaired", changes_by_other_programs_are_repaired),
        (
            "a_table_that_changes_between_save_and_restore_is_repaired",
            a_table_that_changes_between_save_and_restore_is_repaired,
        ),
        ("truncated_output_lets_no_packet_pass", truncated_output_lets_no_packet_pass),
        ("a_missing_program_affects_only_its_part", a_missing_program_affects_only_its_part),
    ]
}

/// Rules and sets of other programs.
const FOREIGN_RULES: &str =
    "IPT -N f2b; IPT -A f2b -s 192.0.2.9 -j DROP; IPT -I INPUT -j f2b; IPT -t nat -A POSTROUTING -j MASQUERADE
    ipset create theirs hash:ip; ipset add theirs 192.0.2.7";

/// Changes of other programs to the firewall's rules: see [`shell`].
const FOREIGN_CHANGES: [&str; 18] = [
    "IPT -F PVEFW-FORWARD",
    "IPT -F tap100i0-IN",
    "IPT -D FORWARD -j PVEFW-FORWARD",
    "IPT -D INPUT -j PVEFW-INPUT; IPT -D OUTPUT -j PVEFW-OUTPUT",
    "IPT -A INPUT -j PVEFW-INPUT",
    "IPT -I tap100i0-IN -j ACCEPT",
    "IPT -A tap100i0-IN -s 192.0.2.1 -j ACCEPT",
    "IPT -F",
    "IPT-save | grep -v -e PVEFW -e tap100i0 | IPT-restore",
    "ipset create x hash:net; ipset swap x PVEFW-100-friends-v4 2>/dev/null || ipset flush PVEFW-100-friends-v4; ipset destroy x",
    "IPT -F tap100i0-IN; ipset rename PVEFW-100-friends-v4 PVEFW-100-others-v4",
    "IPT -E tap100i0-IN tap100i0-AWAY",
    "echo '*filter\nCOMMIT' | IPT-restore",
    "SIX -F tap100i0-IN; SIX -D FORWARD -j PVEFW-FORWARD",
    "SIX -I tap100i0-IN -j ACCEPT",
    "SIX -t raw -F PVEFW-PREROUTING",
    "SIX -t raw -D PREROUTING -j PVEFW-PREROUTING",
    "EBT -F; EBT -D FORWARD -j PVEFW-FORWARD || true",
];

fn foreign_rules(host: &Host) -> Vec<String> {
    let all = host.saved("iptables", "") + &host.netns.exec("ipset save theirs | sed 's/ initval .*//'");
    all.lines()
        .filter(|line| ["f2b", "MASQUERADE", "theirs"].iter().any(|one| line.contains(one)))
        .map(Into::into)
        .collect()
}

/// The firewall's rules, sorted.
fn own_rules(host: &Host) -> Vec<String> {
    let all = host.kernel_state().into_iter().flat_map(|(part, lines)| {
        let of_part = move |line: String| format!("{part}: {line}");
        lines.into_iter().filter(|line| line.contains("PVEFW") || line.contains("tap100i0")).map(of_part)
    });
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

fn changes_by_other_programs_are_repaired() {
    for variant in VARIANTS {
        let mut host = Host::new("others", variant);
        host.netns.exec(&shell(variant, FOREIGN_RULES));
        let wanted = node(&[100]);
        host.update_and_check(&wanted);
        let own = own_rules(&host);
        for change in rounds(FOREIGN_CHANGES) {
            let before = host.kernel_state();
            host.netns.exec(&shell(variant, change));
            assert_ne!(host.kernel_state(), before, "{change}");
            let foreign = foreign_rules(&host);
            // renaming does not change the size of a legacy table
            let full = Duration::from_secs(if change.starts_with("IPT -E") { 0 } else { 300 });
            host.firewall.set_full_reading(full);
            host.update_and_check(&wanted);
            assert_eq!(foreign_rules(&host), foreign, "{change}");
            // a chain that another program has renamed belongs to it
            host.netns.exec(&shell(variant, "IPT -F tap100i0-AWAY 2>/dev/null && IPT -X tap100i0-AWAY || true"));
            assert!(own_rules(&host) == own, "{change}: {:#?}", own_rules(&host));
            for tool in ["iptables", "ip6tables"] {
                let live = host.saved(tool, "-t filter");
                assert!(live.contains("-A tap100i0-IN -p tcp -m tcp --dport 23 -j DROP"), "{change}: {live}");
            }
        }
        assert!(!host.netns.exec("ipset list -n").contains("PVEFW-100-others-v4"));
    }
}

/// The table changes between save and restore.
fn a_table_that_changes_between_save_and_restore_is_repaired() {
    for (number, change) in rounds(FOREIGN_CHANGES.iter().enumerate()) {
        let variant = VARIANTS[number % 2];
        let mut host = Host::new("raced", variant);
        host.netns.exec(&shell(variant, FOREIGN_RULES));
        host.update_and_check(&node(&[100, 101]));
        let tool = restore("iptables", variant);
        let once = shell(variant, &change.replace("ipset destroy x", "ipset destroy x || true"));
        // the tools, not the scripts that replace them
        let once = format!("PATH=/usr/sbin:/usr/bin:/sbin:/bin; {once}");
        replace_tool(&mut host, &tool, &format!("mkdir $dir/once 2>/dev/null && {{ {once}; }}\n$real \"$@\""));
        let mut wanted = node(&[100]);
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(80), Target::Accept, 9));
        // whether this update fails or not, the next one reads the current state
        host.update(&wanted);
        restore_tool(&host, &tool);
        host.update_and_check(&wanted);
    }
}

/// A tool exits early with status 0: missing output does not count as absent if that would accept more packets.
fn truncated_output_lets_no_packet_pass() {
    for variant in VARIANTS {
        let tools =
            [format!("iptables-{variant}-save"), "ipset".into(), format!("ebtables-{}-save", ebtables(variant))];
        for tool in tools {
            for lines in [0, 3, 12] {
                let mut host = Host::new("short", variant);
                host.update_and_check(&node(&[100]));
                let script =
                    format!("case $1 in restore|destroy) exec $real \"$@\";; esac; $real \"$@\" | head -n {lines}");
                replace_tool(&mut host, &tool, &script);
                let mut wanted = node(&[100]);
                append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(80), Target::Accept, 9));
                host.update(&wanted);
                restore_tool(&host, &tool);
                let live = host.saved("iptables", "-t filter");
                for line in [
                    "-A FORWARD -j PVEFW-FORWARD",
                    "-A PVEFW-FWBR-IN -m physdev --physdev-out tap100i0 --physdev-is-bridged -j tap100i0-IN",
                    "-A tap100i0-IN -p tcp -m tcp --dport 23 -j DROP",
                ] {
                    assert!(live.contains(line), "{tool}, {lines} lines: {line} is missing in\n{live}");
                }
                host.update_and_check(&wanted);
            }
        }
    }
}

/// At each run, the program or its kernel module is missing.
fn a_missing_program_affects_only_its_part() {
    for how in ["exit 127", "echo 'modprobe: FATAL: Module ip_tables not found' >&2; exit 3"] {
        let bridge = restore("ebtables", Variant::Legacy);
        for tool in ["ipset", "ip6tables-legacy-restore", "ip6tables-legacy-save", &bridge] {
            let mut host = Host::new("absent", Variant::Legacy);
            host.update_and_check(&node(&[100]));
            replace_tool(&mut host, tool, how);
            let mut wanted = node(&[100]);
            for family in [&mut wanted.filter.v4, &mut wanted.filter.v6] {
                append(family, "tap100i0-OUT", rule(tcp(80), Target::Accept, 9));
            }
            crate::rulesets::add_guest(&mut wanted, 101);
            let outcome = host.update(&wanted);
            assert!(!outcome.errors.is_empty(), "{tool}");
            assert!(
                host.saved("iptables", "").contains("-A tap100i0-OUT -p tcp -m tcp --dport 80 -j ACCEPT"),
                "{tool}"
            );
            restore_tool(&host, tool);
            host.update_and_check(&wanted);
        }
    }
}
