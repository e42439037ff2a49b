//! A tool that fails, hangs or is missing affects only its own part, and the next update repairs it.
use crate::host::{Host, VARIANTS, ebtables};
use crate::rulesets::{append, node, rule, tcp};
use crate::tool_wrappers::{program, replace_tool, restore_tool};
use pve_firewall::iptables::apply::{Outcome, Variant};
use pve_firewall::iptables::plan::{Part, Plan, TableName};
use pve_firewall::iptables::ruleset::{Family, Target};
use std::time::Duration;

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("a_failing_restore_affects_only_its_part", a_failing_restore_affects_only_its_part),
        ("a_hanging_tool_is_killed", a_hanging_tool_is_killed),
        ("a_part_that_cannot_be_read_is_not_changed", a_part_that_cannot_be_read_is_not_changed),
        ("one_invalid_set_affects_only_itself", one_invalid_set_affects_only_itself),
        ("a_chain_that_changes_during_an_update_is_reported", a_chain_that_changes_during_an_update_is_reported),
        ("an_unwritable_state_directory_is_only_reported", an_unwritable_state_directory_is_only_reported),
    ]
}

fn parts(outcome: &Outcome) -> Vec<Part> {
    let mut parts: Vec<_> = outcome.errors.iter().filter_map(|error| error.part()).collect();
    parts.sort();
    parts.dedup();
    parts
}

/// The program that changes the rules of a tool.
pub fn restore(tool: &str, variant: Variant) -> String {
    let variant = if tool == "ebtables" { ebtables(variant) } else { variant };
    format!("{tool}-{variant}-restore")
}

fn a_failing_restore_affects_only_its_part() {
    for variant in VARIANTS {
        let v4 = [TableName::Filter, TableName::Raw].map(|table| Part::Table(table, Family::V4));
        let v6 = [TableName::Filter, TableName::Raw].map(|table| Part::Table(table, Family::V6));
        for (tool, failing) in [("iptables", &v4[..]), ("ip6tables", &v6[..]), ("ebtables", &[Part::Bridge])] {
            for how in ["echo out of order >&2; exit 4", "exit 127", "kill -9 $$"] {
                let mut host = Host::new("failing", variant);
                let tool = restore(tool, variant);
                replace_tool(&mut host, &tool, how);
                let wanted = node(&[100]);
                let outcome = host.update(&wanted);
                assert_eq!(parts(&outcome), failing, "{tool}: {how}: {:?}", outcome.errors);
                assert!(outcome.errors[0].to_string().contains(program(&tool)), "{}", outcome.errors[0]);
                let text = outcome.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                assert!(text.contains("unable to update chain 'PVEFW-FORWARD'"), "{text}");
                let plan = Plan::new(&wanted, &host.live());
                assert_eq!(plan.filter.v4.is_empty(), !failing.contains(&v4[0]));
                assert_eq!(plan.filter.v6.is_empty(), !failing.contains(&v6[0]));
                assert_eq!(plan.bridge.is_empty(), !failing.contains(&Part::Bridge));
                assert!(plan.sets.is_empty());
                assert_eq!(
                    host.update(&wanted).errors,
                    outcome.errors,
                    "a persisting error has the same text each time"
                );
                restore_tool(&host, &tool);
                host.update_and_check(&wanted);
            }
        }
    }
}

fn a_hanging_tool_is_killed() {
    for tool in ["ipset", "ip6tables-legacy-restore", &restore("ebtables", Variant::Legacy), "ip6tables-legacy-save"] {
        let mut host = Host::new("hanging", Variant::Legacy);
        host.update_and_check(&node(&[]));
        // long enough for tools that do not hang
        host.firewall.set_time_limit(Duration::from_secs(2));
        replace_tool(&mut host, tool, "echo $$ >>$dir/pids; sleep 1000 & echo $! >>$dir/pids; wait");
        let wanted = node(&[100]);
        let outcome = host.update(&wanted);
        assert!(
            outcome.errors[0].to_string().contains("did not end within 2 s and was killed"),
            "{:?}",
            outcome.errors
        );
        assert!(host.saved("iptables", "-t filter").contains(":tap100i0-IN"), "{tool}: IPv4 is updated");
        for pid in crate::tool_wrappers::read_note(&host, "pids").split_whitespace() {
            let running = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
            assert!(!running, "{tool}: process {pid} was left running");
        }
        restore_tool(&host, tool);
        host.firewall.set_time_limit(Duration::from_secs(60));
        host.update_and_check(&wanted);
    }
}

fn a_part_that_cannot_be_read_is_not_changed() {
    let mut host = Host::new("unread", Variant::Legacy);
    host.firewall.set_full_reading(Duration::ZERO);
    host.update_and_check(&node(&[100]));
    for (tool, how, part) in [
        ("ip6tables-legacy-save", "exit 1", Part::Table(TableName::Filter, Family::V6)),
        ("iptables-legacy-save", "$real \"$@\" | head -n 9", Part::Table(TableName::Filter, Family::V4)),
        (&format!("ebtables-{}-save", ebtables(Variant::Legacy)), "exit 1", Part::Bridge),
        ("ipset", "exit 1", Part::Sets),
    ] {
        let before = host.kernel_state();
        replace_tool(&mut host, tool, how);
        let mut wanted = node(&[100]);
        let outcome = host.update(&wanted);
        assert_eq!(outcome.errors[0].part(), Some(part));
        assert!(!outcome.changed);
        append(&mut wanted.filter.v4, "tap100i0-OUT", rule(tcp(80), Target::Accept, 9));
        append(&mut wanted.filter.v6, "tap100i0-OUT", rule(tcp(80), Target::Accept, 9));
        assert!(host.update(&wanted).changed);
        restore_tool(&host, tool);
        assert_ne!(host.kernel_state(), before);
        host.update_and_check(&wanted);
        host.update_and_check(&node(&[100]));
    }
}

fn one_invalid_set_affects_only_itself() {
    // the second one is refused without a line number
    for (variant, entry) in [(VARIANTS[0], "10.0.5.0/44"), (VARIANTS[1], "& bogus")] {
        let mut host = Host::new("badset", variant);
        let wanted = node(&[100, 101, 102]);
        let corrupt = format!("sed 's:add PVEFW-101-friends-v4 10.0.5.0/24:add PVEFW-101-friends-v4 {entry}:'");
        replace_tool(
            &mut host,
            "ipset",
            &format!("[ \"$1\" = restore ] || exec $real \"$@\"; {corrupt} | $real \"$@\""),
        );
        let outcome = host.update(&wanted);
        let text = outcome.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains("set 'PVEFW-101-friends-v4'"), "{text}");
        assert!(
            text.contains("100.fw:5: a rule is refused: set 'PVEFW-101-friends-v4' could not be created"),
            "{text}"
        );
        assert!(!text.contains("PVEFW-100") && !text.contains("PVEFW-102"), "{text}");
        let saved = host.saved("iptables", "-t filter");
        assert!(saved.contains("-A tap102i0-IN -m set --match-set PVEFW-102-friends-v4 src -j ACCEPT"));
        assert!(
            saved.contains("-A tap101i0-IN -p tcp -m tcp --dport 23 -j DROP") && !saved.contains("PVEFW-101-friends")
        );
        assert!(!host.netns.exec("ipset list -n").contains("PVEFW-101"), "no incomplete set is left");
        assert_eq!(host.update(&wanted).errors, outcome.errors);
        restore_tool(&host, "ipset");
        host.update_and_check(&wanted);
    }
}

fn a_chain_that_changes_during_an_update_is_reported() {
    let mut host = Host::new("raced", Variant::Legacy);
    host.update_and_check(&node(&[100]));
    replace_tool(&mut host, "iptables-legacy-restore", "$real \"$@\" && /usr/sbin/iptables-legacy -w -F tap100i0-IN");
    let mut wanted = node(&[100]);
    append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(80), Target::Accept, 9));
    let outcome = host.update(&wanted);
    let errors: Vec<_> = outcome.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["iptables filter: unable to update chain 'tap100i0-IN'"]);
    restore_tool(&host, "iptables-legacy-restore");
    host.update_and_check(&wanted);
}

fn an_unwritable_state_directory_is_only_reported() {
    let mut host = Host::new("state", Variant::Legacy);
    std::fs::create_dir_all(host.root.path().join("var/lib")).unwrap();
    std::fs::write(host.root.path().join("var/lib/pve-firewall"), "a file in the way").unwrap();
    let wanted = node(&[100]);
    let outcome = host.update(&wanted);
    assert_eq!(outcome.errors, []);
    let errors = host.firewall.unsaved_scripts();
    assert!(errors.iter().all(|error| error.to_string().contains("the last script could not be saved")));
    assert!(!errors.is_empty() && Plan::new(&wanted, &host.live()).is_empty());
}
